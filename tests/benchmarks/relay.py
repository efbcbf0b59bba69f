"""How fast a relay that is far behind catches up: `python -m tests.benchmarks.relay [EVENTS]`.

A relay in a process of its own empties a backlog; Postgres and NATS write through to disk. Counted
is from the first batch in the stream to the last, so without the start of the process.
"""

import asyncio
import sys
import time
from contextlib import suppress
from typing import Final

import nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from events.customer import CustomerData
from events.jetstream import stream_name
from events.keys import Keyring
from events.log import PostgresLog
from runtime.postgres import Role, make_pool
from runtime.settings import Settings, read_master_keys
from tests.benchmarks.deployment import a_deployment, a_process
from tests.support.builders import Writer, created
from tests.support.signals import until

EVENTS: Final = 200_000
_PER_CALL: Final = 500
_STREAM: Final = stream_name(1, 1)
_CUSTOMER: Final = CustomerData(
    email="jane@example.com", phone="+15550001234", first_name="Jane", tags=("vip",)
)


async def write_backlog(settings: Settings, events: int) -> None:
    """Append so many events, one per customer."""
    writer = Writer(Keyring(read_master_keys(settings)))
    async with make_pool(settings, Role.API, "benchmark", size=1) as pool:
        log = PostgresLog(pool, settings.log_id)
        for _ in range(events // _PER_CALL):
            await log.append(
                [
                    writer.group(writer.event(writer.a_customer(), event=created(_CUSTOMER)))
                    for _ in range(_PER_CALL)
                ]
            )


async def last_sequence(stream: JetStreamContext) -> int:
    """How far the relay is."""
    with suppress(NotFoundError):
        return (await stream.stream_info(_STREAM)).state.last_seq
    return 0


async def drain(settings: Settings, events: int) -> tuple[float, float]:
    """Events a second of a relay that empties the backlog, and bytes of a message's body."""
    client = await nats.connect(settings.nats_url)
    stream = client.jetstream()
    with a_process(settings, "relay"):
        await until(lambda: _is_past(stream, 1), 60)
        began, first = time.monotonic(), await last_sequence(stream)
        await until(lambda: _is_past(stream, events), 600)
        seconds = time.monotonic() - began
    middle = await stream.get_msg(_STREAM, seq=events // 2)
    await client.close()
    return (events - first) / seconds, len(middle.data or b"")


async def _is_past(stream: JetStreamContext, sequence: int) -> bool:
    return await last_sequence(stream) >= sequence


async def _run(settings: Settings, events: int) -> None:
    await write_backlog(settings, events)
    rate, size = await drain(settings, events)
    sys.stdout.write(
        f"relay: {rate:,.0f} events/s over a backlog of {events:,}, bodies of {size} bytes\n"
    )


def main() -> None:
    """Measure once and say so."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with a_deployment() as settings:
        asyncio.run(_run(settings, events))


if __name__ == "__main__":
    main()
