"""The README's Python for subscribers does what the README says, as it stands there."""

import os
import runpy
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events.envelope import Position
from events.subscriber import CustomerSubscriber, Place, WorkspaceId
from runtime.settings import Settings
from tests.support.api import make_key
from tests.support.builders import ACME
from tests.support.feed import serving
from tests.support.histories import a_history
from tests.support.nats_server import NatsServer
from tests.support.readme import block
from tests.support.relaying import relaying, until_published
from tests.support.stream import HandStream
from tests.support.writing import create

TITLE = "In Python"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def nats_url(broker: NatsServer) -> str:
    """A server where log 1, which the README speaks of, is ours."""
    return broker.url


@pytest.fixture
def log_id() -> int:
    """That log."""
    return 1


def saved(folder: Path, containing: str) -> Path:
    """A block of Python as a file."""
    file = folder / "example.py"
    file.write_text(block(TITLE, "python", containing), encoding="utf-8")
    return file


@contextmanager
def program(file: Path, nats_url: str) -> Generator[subprocess.Popen[str]]:
    """A process that runs it, beside our packages; killed when the block ends."""
    environment = {"PATH": os.environ["PATH"], "NATS_URL": nats_url, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-u", file],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_the_example_prints_each_event_and_the_library_nothing(
    client: Client, stream: HandStream, nats_url: str, tmp_path: Path
) -> None:
    # At first there is no stream, so that it has to wait.
    await stream.drop()
    looked_for = await stream.requests_for_consumers()
    with program(saved(tmp_path, "asyncio.run"), nats_url) as process:
        await looked_for.next_msg(30)
        await stream.make()
        await stream.publish(*a_history(1, 3))
        assert process.stdout is not None
        printed = [process.stdout.readline().split(maxsplit=2)[:2] for _ in range(3)]
        process.kill()
        rest = process.communicate()
    await stream.drop()
    assert printed == [[str(number), "CustomerCreated"] for number in (1, 2, 3)]
    assert rest == ("", "")


def test_the_place_of_a_hand_over_is_right_before_it(tmp_path: Path) -> None:
    file = saved(tmp_path, "Place.before")
    told = runpy.run_path(str(file), {"hand_over": {"start_sequence": 9}})
    assert told["start"] == Place(position=Position(8), workspace_sequence=6)


async def test_the_fill_reads_from_the_feed_what_the_stream_lacks(
    client: Client,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(replace(settings, read_wait=0), make_key(settings)) as (server, api):
        for _ in range(8):
            await create(api)
        async with relaying(settings, client):
            await until_published(settings, client, 8)
        for lost in (1, 2, 5, 6):
            await client.jetstream().delete_msg("CUSTOMERS_1_1", lost)
        monkeypatch.setenv("URL", f"http://127.0.0.1:{server.port}/api/v1/external")
        monkeypatch.setenv("KEY", api.headers["X-Api-Key"])
        # Two a page, so that it has to walk.
        file = saved(tmp_path, "async def fill")
        text = file.read_text(encoding="utf-8")
        assert text.count('"limit": 500') == 1
        file.write_text(text.replace('"limit": 500', '"limit": 2'), encoding="utf-8")
        example = runpy.run_path(str(file))
        async with CustomerSubscriber(
            client, workspace_id=WorkspaceId(ACME), fill=example["fill"]
        ) as subscriber:
            seen = [(await anext(subscriber)).workspace_sequence for _ in range(8)]
        await example["api"].aclose()
        await client.jetstream().delete_stream("CUSTOMERS_1_1")
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8]
