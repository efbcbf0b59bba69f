"""A person is looked for everywhere: found in each place before, and nowhere in the end."""

import asyncio
import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import nats
import psycopg
import pytest
from msgspec import Struct

from events.envelope import CustomerId
from events.keys import Keyring
from runtime.embedded import EmbeddedServers, binaries, running_servers
from runtime.leftovers.files import search_jetstream_directory
from runtime.leftovers.needles import make_needles
from runtime.leftovers.report import Report
from runtime.schema import migrate
from runtime.settings import Settings, read_master_keys
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.command import Command, Ran
from tests.support.erasing import finishing, until_finished
from tests.support.projecting import projecting
from tests.support.relaying import relaying, until_published
from tests.support.writing import create

EMAIL = "Marker.Jürgen@Example.com"
PHONE = "+15550009876"
FIRST_ID, SECOND_ID = "marker-external-1", "marker-external-2"
VALUES = (EMAIL.lower(), PHONE, "marker-external-")
WAL = "write-ahead log"

DATABASE = {
    "table edition_1.customers.document",
    "table edition_1.customers.search_text",
    "table edition_1.customers.email_sort_key",
    "table log.reservations.external_id",
    "statistics of the planner",
    "a dump made now",
}
FILES = {
    "files of the server: edition_1.customers",
    "files of the server: edition_1.customers_email",
    "files of the server: log.reservations",
    "files of the server: pg_catalog.pg_statistic",
    f"files of the server: {WAL}",
}


class Home(Struct, frozen=True, kw_only=True):
    """A service on servers of its own, whose files can be looked at."""

    settings: Settings
    jetstream: Path


@pytest.fixture
def home(master_keys: str) -> Generator[Home]:
    """Servers of this test's own."""
    with running_servers() as servers:
        settings = Settings(
            database_url=servers.postgres.url,
            nats_url=servers.nats.url,
            master_keys=master_keys,
            pool_size=4,
        )
        migrate(settings)
        yield Home(settings=settings, jetstream=_store_of(servers))


def _store_of(servers: EmbeddedServers) -> Path:
    return servers.nats._folder


class Looking:
    """`customers erase --check` for the values of one person."""

    def __init__(self, home: Home) -> None:
        self.command = Command(settings=home.settings)
        self._home = home
        self.printed = ""

    async def run(self, *arguments: str) -> Ran:
        """Run a command of this service, with NATS."""
        ran = await asyncio.to_thread(
            self.command.run, *arguments, CUSTOMERS_NATS_URL=self._home.settings.nats_url
        )
        self.printed += ran.out + ran.err
        return ran

    async def check(self, *arguments: str) -> tuple[int, set[str], Any]:
        """Exit status, where the values are, and the whole report."""
        where = f"--jetstream-dir={self._home.jetstream}"
        ran = await self.run("erase", "--check", *VALUES, where, "--json", *arguments)
        report = json.loads(ran.out)
        return ran.code, {found["place"] for found in report["findings"]}, report


async def a_person(home: Home) -> UUID:
    """A customer with all of the values, in the log, in JetStream, in the read model."""
    settings = home.settings
    client = await nats.connect(settings.nats_url)  # pyright: ignore[reportUnknownMemberType] - typed in part
    async with (
        running_api(settings) as api,
        relaying(settings, client),
        projecting(settings, Keyring(read_master_keys(settings))) as projector,
    ):
        with_key(api, make_key(settings))
        for number in range(3):
            await create(api, email=f"other{number}@example.org", external_id=f"other-{number}")
        person = await create(
            api, email=EMAIL, phone=PHONE, external_id=FIRST_ID, firstName="Markerella"
        )
        change = {"external_id": SECOND_ID}
        assert (await api.patch(f"{CUSTOMERS}/{person}", json=change)).status_code == 200
        await until_published(settings, client, 5)
        await projector.catch_up()
    await client.close()
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute("ANALYZE")
    return UUID(person)


def dumped(home: Home, folder: Path) -> list[Path]:
    """Dumps in several formats."""
    programs = binaries.find_postgres("")
    dumps = [folder / name for name in ("plain.sql", "custom.dump", "plain.sql.gz", "folder")]
    for dump, form in zip(dumps, (["-Fp"], ["-Fc"], ["-Fp", "-Z6"], ["-Fd"]), strict=True):
        where = [f"--file={dump}", f"--dbname={home.settings.database_url}"]
        subprocess.run([programs / "pg_dump", *form, *where], check=True)
    return dumps


async def test_an_erased_person_is_nowhere_once_relay_and_scrub_have_run(
    home: Home, tmp_path: Path
) -> None:
    settings, looking = home.settings, Looking(home)
    person = await a_person(home)
    dumps = dumped(home, tmp_path)

    code, places, report = await looking.check()
    assert (code, report["unsearched"]) == (1, [])
    assert places >= DATABASE | FILES | {
        f"events of the log: customer {person} of acme",
        f"messages of JetStream: {person}",
        "files of JetStream",
    }

    erased = await looking.run("erase", "--customer", str(person), "--yes")
    assert erased.code == 0, erased.err
    client = await nats.connect(settings.nats_url)  # pyright: ignore[reportUnknownMemberType] - typed in part
    async with relaying(settings, client), finishing(settings, client):
        await until_finished(settings, CustomerId(person))
    await client.close()
    code, places, report = await looking.check()
    assert (code, report["unsearched"]) == (1, [])
    # No query finds the person; the files do, and the statistics.
    assert {place for place in places if not place.startswith("files of the server: ")} <= {
        "statistics of the planner"
    }
    assert places >= {f"files of the server: {kept}" for kept in ("log.reservations", WAL)}
    assert all("with the next scrub, due" in found["gone"] for found in report["findings"])

    scrubbed = await looking.run("scrub")
    assert scrubbed.code == 0, scrubbed.err
    code, places, report = await looking.check()
    assert (code, places, report["unsearched"]) == (0, set(), [])

    given = [f"--dump={dump}" for dump in dumps]
    code, places, _ = await looking.check("--in=dump", *given)
    assert (code, places) == (1, {f"dump {dump.name}" for dump in dumps})
    shown = await looking.run("erase", "--check", *VALUES, "--in=dump", given[0])
    assert "gone when you delete the dump" in shown.out
    assert not [value for value in VALUES if value in looking.printed.lower()]
    accesses = await looking.run("accesses", "--json")
    assert '"action":"check"' in accesses.out.replace(" ", "")


def a_store(folder: Path, description: str, *, has_key: bool = False, block: bytes = b"") -> Path:
    """Files as JetStream keeps those of a stream."""
    stream = folder / "jetstream/$G/streams/CUSTOMERS_1_1"
    (stream / "msgs").mkdir(parents=True)
    (stream / "meta.inf").write_text(description)
    (stream / "msgs/1.blk").write_bytes(block)
    if has_key:
        (stream / "meta.key").write_bytes(b"key")
    return folder


@pytest.mark.parametrize(
    ("description", "has_key", "block", "reason"),
    [
        ("noise", True, b"", "encrypted by NATS' `cipher`"),
        ("noise", False, b"", "not as NATS writes it"),
        ('{"name":"CUSTOMERS_1_1","compression":"s2"}', False, b"", "compressed by s2"),
        ('{"name":"CUSTOMERS_1_1","compression":"none"}', False, b"cmp\x01", "compressed"),
    ],
)
def test_files_that_cannot_be_looked_through_are_never_taken_for_clean(
    tmp_path: Path, description: str, has_key: bool, block: bytes, reason: str
) -> None:
    report = Report()
    store = a_store(tmp_path, description, has_key=has_key, block=block)

    search_jetstream_directory(report, make_needles([EMAIL]), store, "", [].append)

    assert [reason in place.reason for place in report.unsearched] == [True]
    assert report.exit_status == 2


def test_what_cannot_be_looked_through_is_said_and_leads_to_exit_status_2(
    settings: Settings, tmp_path: Path
) -> None:
    strange = tmp_path / "backup.age"
    strange.write_bytes(b"age-encryption.org/v1\n" + bytes(range(256)))
    values = tmp_path / "values"
    values.write_text(f"{EMAIL}\n\n{PHONE}\n")
    command = Command(settings=settings)
    looking = ("erase", "--check", "--values-file", str(values), "--in")

    for place, words in (
        (("dump", "--dump", str(strange)), "perhaps it is encrypted"),
        (("data-dir", "--data-dir", str(tmp_path)), "is not the folder of this server"),
        (("jetstream-dir", "--jetstream-dir", str(tmp_path)), "it holds no stream"),
        (("jetstream-dir",), "NATS does not say where they are"),
        (("messages",), "no NATS is known"),
    ):
        ran = command.run(*looking, *place)
        assert ran.code == 2, place
        assert words in ran.out
        assert "nowhere" not in ran.out
    assert command.run(*looking, "tables").code == 0
    nowhere = {"CUSTOMERS_DATABASE_URL": ""}
    assert "perhaps" in command.run(*looking, "dump", "--dump", str(strange), **nowhere).out
    assert "No database is known" in command.run(*looking, "tables", **nowhere).err
    assert command.run("erase", "--check", "--in", "tables").code == 2
    assert command.run("erase", "--check", "Jane", "--in", "tables").code == 2
