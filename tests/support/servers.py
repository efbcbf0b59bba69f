"""Real Postgres and NATS for a test run: containers where Docker answers, else embedded ones."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from runtime.embedded import running_servers

POSTGRES_IMAGE: Final = "postgres:18"
NATS_IMAGE: Final = "nats:2.15"

Kind: TypeAlias = Literal["testcontainers", "embedded"]


class Servers(Struct, frozen=True, kw_only=True):
    """Where the servers of this run are, with full rights."""

    database_url: str
    nats_url: str


def chosen_kind() -> Kind:
    """What CUSTOMERS_TEST_SERVERS says, else containers when Docker has both images."""
    wish = os.environ.get("CUSTOMERS_TEST_SERVERS", "")
    match wish:
        case "testcontainers" | "embedded":
            return wish
        case "":
            has_images = _docker_has(POSTGRES_IMAGE, NATS_IMAGE)
            return "testcontainers" if has_images else "embedded"
        case _:
            raise ValueError(f"CUSTOMERS_TEST_SERVERS={wish!r}: say testcontainers or embedded.")


@contextmanager
def started(kind: Kind) -> Generator[Servers]:
    """Both servers, until the block ends."""
    if kind == "testcontainers":
        with _containers() as servers:
            yield servers
    else:
        with running_servers() as embedded:
            yield Servers(database_url=embedded.postgres.url, nats_url=embedded.nats.url)


@contextmanager
def _containers() -> Generator[Servers]:
    # Imported here: only a run with containers needs a Docker client.
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - see above
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - see above
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - see above
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415 - see above

    if not _docker_has(testcontainers_config.ryuk_image):
        # It removes what a killed run leaves behind. A run must not fail for want of it.
        testcontainers_config.ryuk_disabled = True
    # As fast as the embedded one: nothing has to outlive the run.
    postgres = PostgresContainer(POSTGRES_IMAGE, driver=None).with_command(
        "postgres -c fsync=off -c full_page_writes=off -c autovacuum=off"
    )
    nats = (
        DockerContainer(NATS_IMAGE)
        .with_command("--jetstream")
        .with_exposed_ports(4222)
        .waiting_for(LogMessageWaitStrategy("Server is ready"))
    )
    with postgres, nats:
        yield Servers(
            database_url=postgres.get_connection_url(),
            nats_url=f"nats://{nats.get_container_host_ip()}:{nats.get_exposed_port(4222)}",
        )


def _docker_has(*images: str) -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    command = [docker, "image", "inspect", *images]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
