"""What deploy/ makes of a server: the secrets, a NATS with nats.conf, its users."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client

from runtime.embedded import make_folder
from tests.support.nats_server import NatsServer

DEPLOY: Final = Path(__file__).parents[2] / "deploy"


@contextmanager
def a_deployment() -> Generator[Path]:
    """A folder with the secrets of one deployment, in `run/secrets`."""
    path = make_folder(Path(tempfile.mkdtemp(prefix="customers-test-")))
    (path / "run").mkdir()
    subprocess.run([DEPLOY / "make-secrets", path / "run/secrets"], check=True, capture_output=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def read_secret(place: Path, name: str) -> str:
    """A secret of a deployment."""
    return (place / "run/secrets" / name).read_text(encoding="utf-8").strip()


def make_subscriber(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run deploy/make-subscriber on the secrets of a deployment."""
    return subprocess.run(
        [DEPLOY / "make-subscriber", *arguments],
        env=os.environ | {"CUSTOMERS_SECRETS": str(place / "run/secrets")},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def deployed_nats(place: Path, *, with_tls: bool = False) -> Generator[NatsServer]:
    """A NATS with nats.conf, on loopback and with its store in `place`, until the block ends.

    With TLS, what nats.conf says of it in comments counts, and the secrets hold the two files.
    """
    config = place / "etc/nats/customers.conf"
    config.parent.mkdir(parents=True)
    text = (DEPLOY / "nats.conf").read_text(encoding="utf-8")
    assert text.count("store_dir: /data\n") == 1
    if with_tls:
        before, block, after = re.split(r"^(# tls {\n(?:#   .*\n)+# }\n)", text, flags=re.MULTILINE)
        block = re.sub(r"^# ", "", block, flags=re.MULTILINE)
        text = before + block.replace("/run/secrets/", f"{place}/run/secrets/") + after
    text = text.replace("$SERVER_NAME", "nats")
    config.write_text(text.replace("store_dir: /data\n", f"store_dir: {place}/js\n"))
    server = NatsServer(place, config)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Refusals:
    """What a server refused a client."""

    def __init__(self) -> None:
        self.words: list[str] = []

    async def note(self, error: Exception) -> None:
        """The server refuses by telling, some time after the deed."""
        self.words.append(str(error))


@asynccontextmanager
async def connected(place: Path, port: int, user: str) -> AsyncGenerator[tuple[Client, Refusals]]:
    """A client with the rights of this user of ours, and what it was refused so far."""
    async with connected_by(read_secret(place, f"{user}_nats_url"), port) as both:
        yield both


@asynccontextmanager
async def connected_by(
    url: str, port: int, inbox_prefix: str = "_INBOX"
) -> AsyncGenerator[tuple[Client, Refusals]]:
    """A client with the rights that a URL gives, and what it was refused so far.

    A server that was told to read its configuration again may take a moment to know the user.
    """
    refusals = Refusals()
    client = await nats.connect(
        url.replace("@nats:4222", f"@127.0.0.1:{port}"),
        error_cb=refusals.note,
        inbox_prefix=inbox_prefix,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,
    )
    refusals.words.clear()
    try:
        yield client, refusals
    finally:
        await client.close()
