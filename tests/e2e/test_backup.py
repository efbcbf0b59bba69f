"""A service whose Postgres is lost goes on from a backup, and says what of it is lost."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, binaries, children, make_folder
from tests.support.deployed import DEPLOY
from tests.support.dev import PATIENT, Dev, a_place, customers, running_dev
from tests.support.signals import until

pytestmark = pytest.mark.timeout(180)

PASSWORD: Final = "secret"


class Lost(Struct, frozen=True, kw_only=True):
    """What is left when the database is lost, and what was known then."""

    place: Path
    """Backups in `roles.sql`, `customers.dump` and `base`; NATS' files in `broker`; the folder of
    the service in `work`, with its keys, the ledger of erasures and the heads."""
    kept: httpx.Response
    """A customer that was made before the backup."""
    erased: str
    """One that was made before it, and erased behind it."""
    unsaved: httpx.Response
    """One that was made behind it."""
    places: list[str]
    """Cursors of the events: before the backup, and behind it."""


def program(name: str, *arguments: str | Path, url: str = "") -> None:
    """Run a program of Postgres on the server or database of a URL."""
    place = [f"--dbname={url}"] if url else []
    subprocess.run(
        [binaries.find_postgres("") / name, *place, *arguments],
        env=os.environ,
        check=True,
    )


def create(dev: Dev, name: str) -> httpx.Response:
    """Create a customer; the answer."""
    answer = dev.api.post("/customers", json={"email": f"{name}@example.com", "firstName": name})
    assert answer.status_code == 200, answer.text
    return answer


def id_of(answer: httpx.Response) -> str:
    """The id of the customer in an answer."""
    return answer.json()["data"]["id"]


def newest_place(dev: Dev) -> str:
    """Where the events end now."""
    return dev.api.get("/events").json()["meta"]["next_cursor"]


@contextmanager
def postgres_in(folder: Path) -> Generator[EmbeddedPostgres]:
    """A Postgres that keeps its data there."""
    server = EmbeddedPostgres(make_folder(folder), password=PASSWORD, durable=False)
    try:
        server.launch()
        server.wait_ready()
        yield server
    finally:
        server.stop()


@contextmanager
def service(work: Path, postgres: EmbeddedPostgres, broker: Path) -> Generator[Dev]:
    """The processes of the service, as the owner that deploy/owner.sql makes."""
    nats = EmbeddedNats(broker, password=PASSWORD, durable=False)
    try:
        nats.launch()
        nats.wait_ready()
        login = {"user": "customers", "password": PASSWORD, "dbname": "customers"}
        told = {
            "CUSTOMERS_DATABASE_URL": make_conninfo(_place_of(postgres), **login),
            "CUSTOMERS_NATS_URL": nats.url,
        }
        with running_dev(work, **told, **PATIENT) as dev:
            yield dev
    finally:
        nats.stop()


def _place_of(postgres: EmbeddedPostgres) -> str:
    """Where the server is, without who asks."""
    found = conninfo_to_dict(postgres.url)
    return make_conninfo(host=str(found["host"]), port=str(found["port"]))


@pytest.fixture(scope="module")
def lost() -> Generator[Lost]:
    """Backed up in both ways, then written to, then gone."""
    with a_place() as place:
        (place / "work").mkdir()
        make_folder(place / "broker")
        with postgres_in(place / "postgres") as postgres:
            make_database(place, postgres)
            with service(place / "work", postgres, place / "broker") as dev:
                kept, erased = create(dev, "kept"), id_of(create(dev, "erased"))
                places = [newest_place(dev)]
                back_up(place, postgres)
                unsaved = create(dev, "unsaved")
                gone = dev.api.delete(f"/customers/{erased}/personal-data")
                assert gone.status_code == 200, gone.text
                places.append(newest_place(dev))
                sign_head(place)
                settle(dev, erased)
        yield Lost(place=place, kept=kept, erased=erased, unsaved=unsaved, places=places)


def make_database(place: Path, postgres: EmbeddedPostgres) -> None:
    """The database of a deployment, whose owner is no superuser."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE customers")
    secret = place / "customers_database_url"
    secret.write_text(f"postgresql://customers:{PASSWORD}@postgres/customers", encoding="utf-8")
    url = make_conninfo(postgres.url, dbname="customers")
    owner = f"--file={DEPLOY / 'owner.sql'}"
    program("psql", "--no-psqlrc", "--quiet", f"--set=secrets={place}", owner, url=url)


def back_up(place: Path, postgres: EmbeddedPostgres) -> None:
    """Take both backups while the service runs."""
    url = make_conninfo(postgres.url, dbname="customers")
    program("pg_dumpall", "--roles-only", f"--file={place / 'roles.sql'}", url=url)
    whole = ("--format=custom", "--create", f"--file={place / 'customers.dump'}")
    program("pg_dump", *whole, url=url)
    program("pg_basebackup", f"--pgdata={place / 'base'}", "--checkpoint=fast", url=url)
    program("pg_verifybackup", "--quiet", place / "base")


def sign_head(place: Path) -> None:
    """Have somebody keep a signed head of the time that is going to be lost."""
    signed = customers(place / "work", "head")
    assert signed.returncode == 0, signed.stderr
    (place / "kept-elsewhere.jsonl").write_text(signed.stdout, encoding="utf-8")


def settle(dev: Dev, erased: str) -> None:
    """Return when everything is published and the erasure is in the ledger."""
    ledger = dev.place / ".customers/dev/erasures.ndjson"

    def is_settled() -> bool:
        is_noted = ledger.exists() and erased in ledger.read_text(encoding="utf-8")
        return is_noted and dev.status()["problems"] == []

    assert children.wait_until(is_settled, 60), dev.status()["problems"]


def restore_dump(place: Path, target: Path, stack: ExitStack) -> EmbeddedPostgres:
    """Into a new server as deploy/ makes it: the roles, then the database in place of its own."""
    postgres = stack.enter_context(postgres_in(target))
    make_database(target, postgres)
    roles = (place / "roles.sql").read_text(encoding="utf-8").splitlines(keepends=True)
    # The superuser of the new server has a password of its own.
    ours = "".join(line for line in roles if " ROLE postgres" not in line)
    (target / "roles.sql").write_text(ours, encoding="utf-8")
    # Not with ON_ERROR_STOP: the owner is there already.
    program("psql", "--no-psqlrc", "--quiet", f"--file={target / 'roles.sql'}", url=postgres.url)
    anew = ("--clean", "--if-exists", "--create", "--exit-on-error")
    program("pg_restore", *anew, place / "customers.dump", url=postgres.url)
    return postgres


def restore_base_backup(place: Path, target: Path, stack: ExitStack) -> EmbeddedPostgres:
    """The files, for the user that Postgres runs as."""
    data = make_folder(target) / next((place / "postgres").glob("pg*")).name
    shutil.copytree(place / "base", data)
    if (user := binaries.unprivileged_user()) is not None:
        for path in (data, *data.rglob("*")):
            os.chown(path, user.uid, user.gid)
    return stack.enter_context(postgres_in(target))


Restore = Callable[[Path, Path, ExitStack], EmbeddedPostgres]


@pytest.mark.parametrize("restore", [restore_dump, restore_base_backup])
async def test_from_either_backup_the_service_goes_on_and_nothing_that_was_lost_is_hidden(
    lost: Lost, restore: Restore
) -> None:
    with a_place() as place, ExitStack() as stack:
        for name in ("work", "broker"):
            shutil.copytree(lost.place / name, place / name)
        postgres = restore(lost.place, place / "postgres", stack)
        dev = stack.enter_context(service(place / "work", postgres, place / "broker"))

        _assert_rights(dev)
        _assert_answers(dev, lost)
        await _assert_that_the_relay_refuses(dev)
        _assert_that_a_kept_head_tells(dev, lost.place / "kept-elsewhere.jsonl")

        began = customers(dev.place, "relay", "new-generation", "--reason", "restored")
        assert began.returncode == 0, began.stderr
        after = create(dev, "after")
        await until(lambda: dev.status()["problems"] == [], 60)

        status = dev.status()
        assert status["generation"] == 2
        assert status["log_head"] == status["stream_sequence"] == status["checkpoint"]
        listed = dev.api.get("/customers").json()["data"]
        assert [customer["id"] for customer in listed] == [id_of(after), id_of(lost.kept)]
        verified = customers(dev.place, "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "history that was lost when generation 2 began" in " ".join(verified.stdout.split())


def _assert_rights(dev: Dev) -> None:
    """The owner may what it could, and the log is as closed to it as it was."""
    with psycopg.connect(dev.said["database_url"], autocommit=True) as connection:
        may = "SELECT current_user, has_function_privilege('pg_switch_wal()', 'execute')"
        assert connection.execute(may).fetchone() == ("customers", True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            connection.execute("DELETE FROM log.events")


def _assert_answers(dev: Dev, lost: Lost) -> None:
    """What was saved is there, what was erased is not, and places of the lost time are 410."""
    assert dev.api.get(f"/customers/{id_of(lost.kept)}").json()["data"] == lost.kept.json()["data"]
    assert dev.api.get(f"/customers/{lost.erased}").status_code == 410
    assert dev.api.get(f"/customers/{id_of(lost.unsaved)}").status_code == 404
    token = {"X-Consistency-Token": lost.unsaved.headers["X-Consistency-Token"]}
    assert dev.api.get("/customers", headers=token).status_code == 410
    before, behind = lost.places
    assert dev.api.get("/events", params={"after": before}).status_code == 200
    assert dev.api.get("/events", params={"after": behind}).status_code == 410
    events = dev.api.get("/events").json()["data"]
    assert [event["type"] for event in events if event["subject"] == lost.erased] == [
        "CustomerCreated",
        "CustomerErased",
    ]
    assert all("erased@example.com" not in str(event) for event in events)


async def _assert_that_the_relay_refuses(dev: Dev) -> None:
    # Who signs heads may have noticed before who publishes.
    await until(lambda: "stopped" in " ".join(dev.status()["problems"]))
    problems = " ".join(dev.status()["problems"])
    assert "The relay" in problems
    assert "the database was restored to an earlier point" in problems
    assert "customers relay new-generation" in problems


def _assert_that_a_kept_head_tells(dev: Dev, head: Path) -> None:
    verified = customers(dev.place, "verify", "--head", str(head))
    said = " ".join(verified.stdout.split())
    assert verified.returncode == 1, said
    assert "position 4: is missing: the log ends at 3" in said
    assert "(position 4, key development) was signed" in said
