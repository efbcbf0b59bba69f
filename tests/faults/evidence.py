"""All that can be seen of a service from outside, gathered when everything is healed."""

import asyncio
import json
import os
import subprocess
from contextlib import suppress
from typing import Any, Final

import httpx
import nats
from msgspec import Struct, field
from nats.errors import TimeoutError as NothingCame
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events.jetstream import stream_name
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from runtime.status import read_status
from tests.benchmarks.deployment import environment
from tests.faults.history import History, Write
from tests.faults.system import System, Workspace
from tests.support.dev import CUSTOMERS
from tests.support.signals import until

BASE: Final = "/api/v1/external"
CAUGHT_UP_SECONDS: Final = 90.0
_FETCHED: Final = 500
_ON_A_PAGE: Final = 25
"""Few, so that there are many borders between pages, at which something may be left out."""
_LOG: Final = """
SELECT position, workspace_id, workspace_sequence, stream_id::text, stream_version,
       event_id::text, type, extract(epoch FROM recorded_at)::float8, encode(digest, 'hex'),
       encode(chain, 'hex')
  FROM log.events WHERE log_id = %s ORDER BY position
"""
_UNFINISHED: Final = """
SELECT count(*) FROM log.erasures WHERE log_id = %s
   AND (forgotten_at IS NULL OR ledger_at IS NULL OR messages_deleted_at IS NULL)
"""


class LogRow(Struct, frozen=True):
    """An event as the log has it, without its payload."""

    position: int
    workspace: str
    sequence: int
    customer: str
    version: int
    event_id: str
    type: str
    recorded_at: float
    digest: str
    chain: str


class StreamMessage(Struct, frozen=True, kw_only=True):
    """A message as JetStream has it."""

    sequence: int
    subject: str
    position: int
    digest: str
    chain: str
    body: Any


class Outcome(Struct, frozen=True, kw_only=True):
    """What a command of an operator ended with."""

    words: str
    code: int
    out: str


class Evidence(Struct, kw_only=True):
    """What a check may look at; plain values, so that a test can forge them."""

    log: list[LogRow]
    feeds: dict[str, list[Any]]
    """The CloudEvents of each workspace over HTTP, from its first one."""
    messages: list[StreamMessage]
    last_sequence: int
    customers: dict[str, dict[str, Any]]
    """The live customers of each workspace by id, as the list shows them."""
    tags: dict[str, dict[str, int]]
    writes: list[Write]
    outcomes: list[Outcome] = field(default_factory=list[Outcome])


async def caught_up(settings: Settings, history: History) -> None:
    """Wait until log, stream and read model end at the same place and no process has a trouble."""

    async def is_well() -> bool:
        status = await asyncio.to_thread(read_status, settings, None)
        return not status.problems

    async def is_clean() -> bool:
        """Whether nothing more has to be deleted of anybody who was erased."""
        return await asyncio.to_thread(_waiting_erasures, settings) == 0

    try:
        await until(is_well, CAUGHT_UP_SECONDS)
        await until(is_clean, CAUGHT_UP_SECONDS)
    except TimeoutError:
        status = await asyncio.to_thread(read_status, settings, None)
        waiting = await asyncio.to_thread(_waiting_erasures, settings)
        words = f"after {CAUGHT_UP_SECONDS:.0f} s without a fault: {'; '.join(status.problems)}"
        words += f"; {waiting} erasures are not done"
        history.violated("caught up", words)


async def gather(system: System, history: History) -> Evidence:
    """Look at everything; nobody writes meanwhile."""
    settings = system.settings
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{system.api_port}{BASE}", timeout=60, trust_env=False
    ) as client:
        feeds = {one.name: await _feed(client, one) for one in system.workspaces}
        customers = {one.name: await _customers(client, one) for one in system.workspaces}
        tags = {one.name: await _tags(client, one) for one in system.workspaces}
    messages, last = await _messages(settings)
    return Evidence(
        log=await asyncio.to_thread(_log, settings),
        feeds=feeds,
        messages=messages,
        last_sequence=last,
        customers=customers,
        tags=tags,
        writes=history.writes,
        outcomes=await _outcomes(settings),
    )


def _waiting_erasures(settings: Settings) -> int:
    with connect_as_owner(settings, "faults erasures") as owner:
        row = owner.execute(_UNFINISHED, [settings.log_id]).fetchone()
    assert row is not None
    return int(row[0])


def _log(settings: Settings) -> list[LogRow]:
    with connect_as_owner(settings, "faults log") as owner:
        return [LogRow(*row) for row in owner.execute(_LOG, [settings.log_id])]


async def _page(client: httpx.AsyncClient, one: Workspace, path: str, **asked: str) -> Any:
    answer = await client.get(path, params=asked, headers={"X-Api-Key": one.key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _feed(client: httpx.AsyncClient, one: Workspace) -> list[Any]:
    found: list[Any] = []
    asked = {"limit": str(_ON_A_PAGE)}
    while True:
        page = await _page(client, one, "/events", **asked)
        found += page["data"]
        if not page["meta"]["has_more"]:
            return found
        asked["after"] = page["meta"]["next_cursor"]


async def _customers(client: httpx.AsyncClient, one: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    asked = {"per_page": str(_ON_A_PAGE)}
    while True:
        page = await _page(client, one, "/customers", **asked)
        found |= {customer["id"]: customer for customer in page["data"]}
        if not page["meta"]["next_cursor"]:
            return found
        asked["cursor"] = page["meta"]["next_cursor"]


async def _tags(client: httpx.AsyncClient, one: Workspace) -> dict[str, int]:
    page = await _page(client, one, "/customers/tags", per_page="100")
    return {tag["tag"].casefold(): tag["count"] for tag in page["data"]}


async def _messages(settings: Settings) -> tuple[list[StreamMessage], int]:
    client = await nats.connect(settings.nats_url.split(","))
    try:
        jetstream = client.jetstream()
        stream = stream_name(settings.log_id, await asyncio.to_thread(_generation, settings))
        state = (await jetstream.stream_info(stream)).state
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL)
        reading = await jetstream.pull_subscribe("", stream=stream, config=config)
        found: list[StreamMessage] = []
        while len(found) < state.messages:
            wanted = min(_FETCHED, state.messages - len(found))
            with suppress(NothingCame):
                found += [_message(one) for one in await reading.fetch(wanted, timeout=10)]
        return found, state.last_seq
    finally:
        await client.close()


def _message(message: Any) -> StreamMessage:
    headers = message.headers or {}
    return StreamMessage(
        sequence=message.metadata.sequence.stream,
        subject=message.subject,
        position=int(headers.get("Customers-Position", "0")),
        digest=headers.get("Customers-Digest", ""),
        chain=headers.get("Customers-Chain", ""),
        body=json.loads(message.data) if message.data else None,
    )


def _generation(settings: Settings) -> int:
    with connect_as_owner(settings, "faults generation") as owner:
        row = owner.execute("SELECT log.current_generation(%s)", [settings.log_id]).fetchone()
    assert row is not None
    return int(row[0])


async def _outcomes(settings: Settings) -> list[Outcome]:
    """What an operator's own commands say."""
    commands = ("verify", "rebuild --verify", "doctor", "status --json")
    environ = environment(settings) | {"CUSTOMERS_LOG_LEVEL": "warning"}

    def run(words: str) -> Outcome:
        ran = subprocess.run(
            [*CUSTOMERS, *words.split()],
            env=environ,
            cwd=os.sep,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return Outcome(words=words, code=ran.returncode, out=ran.stdout + ran.stderr)

    return [await asyncio.to_thread(run, words) for words in commands]
