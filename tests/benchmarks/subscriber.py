"""How fast a subscriber reads what is there: `python -m tests.benchmarks.subscriber [EVENTS]`.

On a NATS of its own, with events of two workspaces in turn and bodies of about 700 bytes. Each
reading is a process of its own. Counted is from its first event to its last.
"""

import asyncio
import base64
import os
import resource
import subprocess
import sys
import time
from typing import Final

import nats

from events.customer import CustomerData
from events.envelope import WorkspaceId
from events.jetstream import stream_name
from events.keys import Keyring
from events.subscriber import CustomerSubscriber
from runtime.settings import Settings, read_master_keys
from tests.support.builders import ACME, GLOBEX
from tests.support.histories import a_history
from tests.support.nats_server import nats_with
from tests.support.stream import HandStream

EVENTS: Final = 100_000
_CUSTOMER: Final = CustomerData(
    email="jane@example.com",
    phone="+15550001234",
    first_name="Jane",
    last_name="Doe",
    external_id="cust-001",
    tags=("vip",),
)


async def publish(url: str, events: int) -> int:
    """Fill the stream of log 1; the bytes of a body."""
    keys = f"bench:{base64.b64encode(os.urandom(32)).decode()}"
    client = await nats.connect(url)
    stream = HandStream(client, Keyring(read_master_keys(Settings(master_keys=keys))), 1)
    await stream.make()
    history = a_history(1, events, workspaces=(ACME, GLOBEX), data=_CUSTOMER)
    for first in range(0, events, 1000):
        await stream.publish(*history[first : first + 1000])
    message = await client.jetstream().get_msg(stream_name(1, 1), events)
    await client.close()
    return len(message.data or b"")


async def read(url: str, events: int, workspace_id: WorkspaceId | None, how: str) -> None:
    """Read so many events, and print how fast that was."""
    client = await nats.connect(url)
    async with CustomerSubscriber(client, workspace_id=workspace_id) as subscriber:
        await anext(subscriber)
        before = resource.getrusage(resource.RUSAGE_SELF)
        began, seen = time.perf_counter(), 1
        if how == "batches":
            async for batch in subscriber.batches():
                seen += len(batch)
                if seen == events:
                    break
        else:
            async for _ in subscriber:
                seen += 1
                if seen == events:
                    break
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(  # noqa: T201 - what it is for
        f"{workspace_id or 'all workspaces'}, {how}: {events / seconds:,.0f} events/s "
        f"({events / busy:,.0f} a second of processor time), "
        f"memory +{(after.ru_maxrss - before.ru_maxrss) / 1024:.1f} MiB"
    )
    await client.close()


def main(events: int) -> None:
    """Fill a stream, and read it in each way."""
    with nats_with() as server:
        size = asyncio.run(publish(server.url, events))
        print(f"{events:,} events, the last with a body of {size} bytes")  # noqa: T201 - what it is for
        for workspace_id in ("", GLOBEX):
            for how in ("events", "batches"):
                wanted = str(events // 2 if workspace_id else events)
                command = [sys.executable, "-m", "tests.benchmarks.subscriber", "read"]
                subprocess.run([*command, server.url, wanted, workspace_id, how], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        url_, events_, workspace_, how_ = sys.argv[2:]
        asyncio.run(read(url_, int(events_), WorkspaceId(workspace_) if workspace_ else None, how_))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
