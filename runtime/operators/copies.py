"""A value looked for in what only keys or a server open: the log's events, JetStream's messages."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, LiteralString
from uuid import UUID

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events.append import KeyedEvent
from events.envelope import Position
from events.errors import EventsError
from events.keys import Keyring
from events.log import LogReader
from events.reading import open_stored
from runtime.accesses import Access, record_access
from runtime.leftovers.needles import Finder, Needle
from runtime.leftovers.report import Finding, Report, Searched, Unsearched, in_bytes
from runtime.nats_access import connected_once
from runtime.postgres import connect
from runtime.settings import Settings, read_master_keys

_NAME: Final = "customers erase --check"
_EVENTS: Final = 1000
_SECONDS: Final = 5.0
_INACTIVE_SECONDS: Final = 30.0
# Customers that are named; the others are counted.
_NAMED: Final = 20
# What the service makes, whichever log it is of.
_PREFIX: Final = "CUSTOMERS_"
_ERASED: Final[LiteralString] = "SELECT stream_id FROM log.erasures WHERE stream_id = ANY (%b)"

Advance = Callable[[int], None]


class _Hits:
    """What was found of whom."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, str], Finding] = {}

    def add(self, needles: list[Needle], finder: Finder, customer: str) -> None:
        for needle in needles:
            forms = finder.found.get(needle.number)
            if forms:
                known = self.of.get((needle.number, customer))
                self.of[needle.number, customer] = Finding(
                    number=needle.number,
                    value=needle.shown,
                    place="",
                    count=(known.count if known else 0) + 1,
                    forms=sorted({*(known.forms if known else ()), *forms}),
                    gone="",
                )


class _CloudEvent(Struct, frozen=True):
    subject: str = ""


def search_log(settings: Settings, report: Report, needles: list[Needle], advance: Advance) -> None:
    """Look through the payload of every event that some key still opens."""
    asyncio.run(_search_log(settings, report, needles, advance))


async def _search_log(
    settings: Settings, report: Report, needles: list[Needle], advance: Advance
) -> None:
    keyring = Keyring(read_master_keys(settings))
    hits, opened, closed, faults = _Hits(), 0, 0, 0
    async with await connect(settings, None, _NAME) as connection:
        # Whether somebody is there is an answer about a person, too.
        await record_access(connection, Access(action="check", workspace_id=None))
        reader = LogReader(connection, settings.log_id)
        position = Position(0)
        while page := await reader.read_after(position, _EVENTS):
            position = page[-1].stored.position
            texts: list[tuple[KeyedEvent, bytes]] = []
            for keyed in page:
                try:
                    text = open_stored(keyring, keyed)
                except EventsError:
                    faults += 1
                    continue
                if text is None:
                    closed += 1
                else:
                    texts.append((keyed, text))
            opened += len(texts)
            whole = _found(needles, b"\0".join(text for _, text in texts))
            advance(sum(len(text) for _, text in texts))
            for keyed, text in texts if whole.found else ():
                customer = f"customer {keyed.stored.stream_id} of {keyed.stored.workspace_id}"
                hits.add(needles, _found(needles, text), customer)
    _report_hits(report, hits, "events of the log", lambda _: "when this customer is erased")
    extent = f"{opened:,} events that a key opens; {closed:,} that no key opens any more"
    report.searched.append(Searched(place="log", extent=extent))
    if faults:
        report.unsearched.append(
            Unsearched(
                place="log",
                reason=f"{faults:,} events cannot be opened though nobody erased them",
                try_next="customers doctor",
            )
        )


async def search_messages(
    settings: Settings, report: Report, needles: list[Needle], advance: Advance
) -> None:
    """Look through every message of the service's JetStream streams, as the server gives them."""
    hits, messages, size = _Hits(), 0, 0
    async with connected_once(settings, _NAME) as client:
        streams = await client.jetstream(timeout=_SECONDS).streams_info()
        names = [str(info.config.name) for info in streams]
        wanted = [name for name in names if name.startswith(_PREFIX)]
        for name in wanted:
            async for batch in _batches(client, name):
                whole = _found(needles, b"\0".join(_content(message) for message in batch))
                for message in batch if whole.found else ():
                    hits.add(needles, _found(needles, _content(message)), _whose(message))
                messages += len(batch)
                size += sum(len(message.data) for message in batch)
                advance(sum(len(message.data) for message in batch))
    erased = await _erased(settings, [customer for _, customer in hits.of])

    def gone(customer: str) -> str:
        if customer in erased:
            return "as soon as the relay has deleted the messages of this erased customer"
        return "when this customer is erased"

    _report_hits(report, hits, "messages of JetStream", gone)
    extent = f"{messages:,} messages in {len(wanted)} streams, {in_bytes(size)}"
    report.searched.append(Searched(place="JetStream messages", extent=extent))


async def _batches(client: Client, stream: str):
    """All messages of a stream, oldest first."""
    jetstream = client.jetstream(timeout=_SECONDS)
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE,
        deliver_policy=DeliverPolicy.ALL,
        inactive_threshold=_INACTIVE_SECONDS,
        mem_storage=True,
    )
    made = await jetstream.add_consumer(stream, config)
    subscription = await jetstream.pull_subscribe_bind(made.name, stream)
    left = made.num_pending or 0
    while left > 0:
        batch = await subscription.fetch(min(left, _EVENTS), timeout=_SECONDS)
        left -= len(batch)
        yield batch
    await subscription.unsubscribe()
    with suppress(nats.errors.Error):
        await jetstream.delete_consumer(stream, str(made.name))


def _content(message: Msg) -> bytes:
    headers = message.headers or {}
    return message.data + message.subject.encode() + repr(headers).encode()


def _whose(message: Msg) -> str:
    try:
        return msgspec.json.decode(message.data, type=_CloudEvent).subject or "nobody"
    except msgspec.DecodeError:
        return "nobody"


async def _erased(settings: Settings, customers: list[str]) -> set[str]:
    ids: list[UUID] = []
    for customer in customers:
        with suppress(ValueError):
            ids.append(UUID(customer))
    async with await connect(settings, None, _NAME) as connection:
        cursor = await connection.execute(_ERASED, [ids])
        return {str(row[0]) for row in await cursor.fetchall()}


def _found(needles: list[Needle], text: bytes) -> Finder:
    finder = Finder(needles)
    finder.feed(text)
    return finder


def _report_hits(report: Report, hits: _Hits, place: str, gone: Callable[[str], str]) -> None:
    for number, ((_, customer), found) in enumerate(hits.of.items()):
        if number == _NAMED:
            rest = list(hits.of.values())[_NAMED:]
            report.findings.append(
                msgspec.structs.replace(
                    found,
                    place=f"{place}: {len(rest)} further customers",
                    count=sum(hit.count for hit in rest),
                    gone="as said of the others",
                )
            )
            return
        report.findings.append(
            msgspec.structs.replace(found, place=f"{place}: {customer}", gone=gone(customer))
        )
