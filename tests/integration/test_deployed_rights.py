"""What the files in deploy/ let each process do, tried on a Postgres and a NATS set up by them."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec
import psycopg
import pytest
from nats.aio.msg import Msg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from events.envelope import CustomerId, Position, WorkspaceId
from events.head_sources import HeadStream
from events.heads import EXAMPLE_HEAD
from events.jetstream import (
    POSITION_HEADER,
    appended_ping,
    heads_subject,
    ledger_subject,
    projected_ping,
    stream_config,
)
from events.keys import Keyring
from events.ledger import Entry, LedgerStream
from events.relay import RelayState
from events.subscriber import BEGINNING, CustomerSubscriber
from runtime.doctor import examine
from runtime.embedded import EmbeddedPostgres, binaries
from runtime.ids import new_id
from runtime.key_ping import key_change_subject
from runtime.nats import NatsLine
from runtime.operators.scrub import run_scrub
from runtime.postgres import Role, connect
from runtime.schema import migrate
from runtime.scrub.wal import wal_rights
from runtime.settings import Settings
from runtime.status import read_status
from tests.support.builders import Writer
from tests.support.certificates import Authority
from tests.support.command import Command
from tests.support.deployed import DEPLOY, a_deployment, connected, deployed_nats, read_secret
from tests.support.signals import until
from tests.support.writing import write

ROLES: Final = {"api": Role.API, "relay": Role.RELAY, "projector": Role.PROJECTOR}
START: Final = Position(0)
EVENT: Final = "customers.1.1.acme.00.created"


@pytest.fixture(scope="module")
def place() -> Generator[Path]:
    """A folder with the secrets of one deployment."""
    with a_deployment() as path:
        yield path


@pytest.fixture(scope="module")
def deployed_urls(place: Path) -> Generator[dict[str, str]]:
    """The database URL of each user, on a Postgres that owner.sql and users.sql were run on."""
    server = EmbeddedPostgres(place, password="secret", durable=False)
    try:
        server.launch()
        server.wait_ready()
        local = {
            key: str(value)
            for key, value in conninfo_to_dict(server.url).items()
            if key in ("host", "port")
        }
        urls = {
            user: make_conninfo(read_secret(place, f"{user}_database_url"), **local)
            for user in ("customers", *ROLES)
        }
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE customers")
        _psql(place, "owner.sql", make_conninfo(server.url, dbname="customers"))
        migrate(Settings(database_url=urls["customers"]))
        for _ in range(2):
            _psql(place, "users.sql", urls["customers"])
        yield urls
    finally:
        server.stop()
        server.erase()


def _psql(place: Path, file: str, url: str) -> None:
    folder = binaries.find_postgres("")
    variable = f"--set=secrets={place}/run/secrets"
    subprocess.run(
        [folder / "psql", "--no-psqlrc", "--quiet", variable, f"--file={DEPLOY / file}", url],
        check=True,
    )


@pytest.mark.parametrize("user", ROLES)
async def test_the_user_of_a_process_can_become_its_role_and_no_other(
    deployed_urls: dict[str, str], user: str
) -> None:
    settings = Settings(database_url=deployed_urls[user])
    async with await connect(settings, ROLES[user], "test") as connection:
        row = await (await connection.execute("SELECT current_user, session_user")).fetchone()
        assert row == (ROLES[user].value, user)
    for role in set(Role) - {ROLES[user]}:
        with pytest.raises(psycopg.OperationalError, match="permission denied to set role"):
            await connect(settings, role, "test")


@pytest.mark.parametrize("user", ["customers", *ROLES])
def test_what_postgres_refuses_any_user_leaves_no_values_in_its_log(
    deployed_urls: dict[str, str], user: str
) -> None:
    with psycopg.connect(deployed_urls[user]) as connection:
        said = connection.execute(
            "SELECT setting, source FROM pg_settings WHERE name = 'log_error_verbosity'"
        ).fetchone()
    assert said == ("terse", "database")


def test_the_owner_may_scrub_everything_and_is_told_what_it_lacks_otherwise(
    deployed_urls: dict[str, str], master_keys: str
) -> None:
    settings = Settings(database_url=deployed_urls["customers"], master_keys=master_keys)
    assert run_scrub(settings, 4.0, [].append).scrub.left_over == []
    with psycopg.connect(deployed_urls["api"], autocommit=True) as other:
        rights = wal_rights(other)
    assert rights.missing == ["GRANT pg_monitor TO {user}", "GRANT pg_checkpoint TO {user}"]


def test_the_user_of_the_relay_may_replay_look_back_and_export(
    deployed_urls: dict[str, str], keyring: Keyring, master_keys: str
) -> None:
    writer = Writer(keyring)
    customer = writer.a_customer()
    by_process = {
        user: Settings(database_url=deployed_urls[user], master_keys=master_keys) for user in ROLES
    }
    write(by_process["api"], writer.group(writer.event(customer)))
    command = Command(settings=by_process["relay"])
    for arguments in (
        ("replay",),
        ("state", "--customer", str(customer), "--at", "1"),
        ("export", "customers", "--workspace", "acme"),
        ("export", "person", "--customer", str(customer)),
    ):
        ran = command.run(*arguments)
        assert (ran.code, "jane@example.com" in ran.out) == (0, True), ran.err


@pytest.mark.parametrize("user", ROLES)
def test_the_user_of_a_process_has_no_rights_of_its_own(
    deployed_urls: dict[str, str], user: str
) -> None:
    refused = (
        "SELECT FROM log.events",
        "SELECT FROM control.api_keys",
        "SELECT pid FROM control.processes",
        "SELECT log.current_generation(1)",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE ROLE mine",
    )
    with psycopg.connect(deployed_urls[user], autocommit=True) as connection:
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_owner_is_no_superuser(deployed_urls: dict[str, str]) -> None:
    with psycopg.connect(deployed_urls["customers"]) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = session_user"
        ).fetchone()
    assert row == (False, False, False)


@pytest.mark.parametrize("user", ROLES)
def test_status_and_doctor_tell_the_user_of_a_process_who_may_ask_how_all_are(
    deployed_urls: dict[str, str], user: str
) -> None:
    settings = Settings(database_url=deployed_urls[user])
    problem = read_status(settings, None).problems[0]
    check = {check.name: check for check in examine(settings, None)}["Postgres"]

    assert check.is_fine is None
    for said in (problem, check.said):
        assert "may not see how all are" in said
        assert "docker compose run --rm migrate status" in said


def test_doctor_misses_no_master_keys_where_processes_run_that_have_them(
    deployed_urls: dict[str, str],
) -> None:
    def has_keys(keys: str = "") -> bool | None:
        settings = Settings(database_url=deployed_urls["customers"], master_keys=keys)
        return {check.name: check for check in examine(settings, None)}["master key"].is_fine

    with psycopg.connect(deployed_urls["customers"], autocommit=True) as owner:
        owner.execute("DELETE FROM control.processes")
        assert has_keys() is False
        owner.execute("SELECT control.beat(%s, 'api', 1, 'here', '{}')", [new_id()])
        assert (has_keys(), has_keys("junk")) == (None, False)
        owner.execute("DELETE FROM control.processes")


@pytest.mark.parametrize("kind", ["relay", "projector"])
def test_the_heartbeat_check_tells_silence_and_trouble_from_health(
    deployed_urls: dict[str, str], kind: str
) -> None:
    url = deployed_urls[kind]
    with psycopg.connect(deployed_urls["customers"], autocommit=True) as owner:
        owner.execute("DELETE FROM control.processes")
        assert "never been heard of" in _fault(kind, url)
        process = new_id()
        for state, expected in (
            (RelayState(condition="standing by"), ""),
            (RelayState(condition="stopped", words="foreign event"), "stopped: foreign event"),
        ):
            owner.execute(
                "SELECT control.beat(%s, %s, 1, %s, %s)",
                [process, kind, socket.gethostname(), msgspec.json.encode(state).decode()],
            )
            assert _fault(kind, url) == expected
        owner.execute("UPDATE control.processes SET beat_at = now() - interval '11 seconds'")
        assert "silent" in _fault(kind, url)
    assert "Postgres cannot be asked" in _fault(kind, make_conninfo(url, password="wrong"))


def _fault(kind: str, url: str) -> str:
    checked = subprocess.run(
        [sys.executable, DEPLOY / "heartbeat.py", kind],
        env=os.environ | {"CUSTOMERS_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode == 0) == (checked.stderr == "")
    return checked.stderr.strip()


@pytest.fixture(scope="module")
def nats_port(place: Path) -> Generator[int]:
    """The port of a NATS that runs with nats.conf."""
    with deployed_nats(place) as server:
        yield server.port


async def test_only_the_relay_publishes_events_and_the_projector_reads_them(
    place: Path, nats_port: int
) -> None:
    async with (
        connected(place, nats_port, "relay") as (relay, relay_refusals),
        connected(place, nats_port, "projector") as (projector, projector_refusals),
    ):
        await relay.jetstream().add_stream(stream_config(1, 1, 1))
        header = {POSITION_HEADER: "1", "Nats-Expected-Last-Sequence": "0"}
        await relay.jetstream().publish(EVENT, b"{}", headers=header)
        subscriber = CustomerSubscriber(projector)
        subscriber.follow(BEGINNING)
        reading = asyncio.create_task(subscriber.run())
        await until(lambda: subscriber.has_some)
        reading.cancel()
        assert (relay_refusals.words, projector_refusals.words) == ([], [])


async def test_the_relay_keeps_signed_heads_and_reads_them_again(
    place: Path, nats_port: int
) -> None:
    async with connected(place, nats_port, "relay") as (relay, refusals):
        stream = HeadStream(lambda: relay, 1)
        assert await stream.make()
        await stream.append(EXAMPLE_HEAD)
        assert [head async for head in stream.read()] == [EXAMPLE_HEAD]
        assert refusals.words == []


async def test_the_relay_writes_the_ledger_of_erasures_and_the_api_reads_it(
    place: Path, nats_port: int
) -> None:
    entry = Entry(
        log_id=1,
        workspace_id=WorkspaceId("acme"),
        customer_id=CustomerId(new_id()),
        data_key_id=None,
        erased_at="2026-03-03T18:00:00.000000Z",
    )
    async with (
        connected(place, nats_port, "relay") as (relay, relay_refusals),
        connected(place, nats_port, "api") as (api, api_refusals),
    ):
        written, read = LedgerStream(lambda: relay, 1), LedgerStream(lambda: api, 1)
        assert await read.look() is None
        await written.make(1)
        await written.append([entry])
        found = await read.look()
        assert found is not None
        assert [page async for page in read.read(0, found[1])] == [[entry]]
        assert (relay_refusals.words, api_refusals.words) == ([], [])


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("api", EVENT),
        ("projector", EVENT),
        ("operator", EVENT),
        ("projector", heads_subject(1, 1)),
        ("operator", heads_subject(1, 1)),
        ("api", "$JS.API.STREAM.INFO.CUSTOMERS_1_1"),
        ("api", projected_ping(1)),
        ("api", "$JS.API.STREAM.MSG.DELETE.CUSTOMERS_1_1"),
        ("api", "$JS.API.DIRECT.GET.CUSTOMERS_1_1"),
        ("api", ledger_subject(1)),
        ("projector", ledger_subject(1)),
        ("projector", "$JS.API.STREAM.MSG.DELETE.CUSTOMERS_1_1"),
        ("projector", "$JS.API.STREAM.DELETE.CUSTOMERS_1_1"),
        ("operator", "$JS.API.STREAM.PURGE.CUSTOMERS_1_1"),
    ],
)
async def test_what_a_process_does_not_do_is_refused(
    place: Path, nats_port: int, user: str, subject: str
) -> None:
    async with connected(place, nats_port, user) as (client, refusals):
        await client.publish(subject, b"")
        await client.flush()
        await until(lambda: bool(refusals.words))
        assert "permissions violation for publish" in refusals.words[0].lower()


async def test_with_the_lines_on_tls_in_force_a_process_connects_by_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    with a_deployment() as folder:
        for file, name in zip(authority.issue("nats"), ("nats_cert", "nats_key"), strict=True):
            shutil.copy(file, folder / "run/secrets" / name)
        with deployed_nats(folder, with_tls=True) as server:
            url = read_secret(folder, "relay_nats_url").replace("nats://", "tls://")
            url = url.replace("@nats:4222", f"@127.0.0.1:{server.port}")
            line = NatsLine(Settings(nats_url=url, nats_ca=str(authority.file)), "test")
            async with line.kept_up():
                await until(lambda: line.connected)
                await line.client().jetstream().account_info()


async def test_a_subscriber_of_events_that_nobody_named_is_refused(
    place: Path, nats_port: int
) -> None:
    async with connected(place, nats_port, "api") as (client, refusals):
        await client.subscribe("customers.>")
        await client.flush()
        await until(lambda: bool(refusals.words))
        assert "permissions violation for subscription" in refusals.words[0].lower()


@pytest.mark.parametrize(
    ("rings", "subject", "hears"),
    [
        ("api", appended_ping(1), "relay"),
        ("api", appended_ping(1), "projector"),
        ("api", appended_ping(1), "api"),
        ("projector", projected_ping(1), "api"),
        ("operator", key_change_subject(1), "api"),
    ],
)
async def test_each_ping_reaches_whom_it_is_for(
    place: Path, nats_port: int, rings: str, subject: str, hears: str
) -> None:
    async with (
        connected(place, nats_port, rings) as (ringing, _),
        connected(place, nats_port, hears) as (hearing, _),
    ):
        heard: list[bytes] = []

        async def hear(message: Msg) -> None:
            heard.append(message.data)

        async def has_been_heard() -> bool:
            # A flush may overtake a subscription, so the first rings may be for nobody.
            await ringing.publish(subject, b"7")
            return heard[:1] == [b"7"]

        await hearing.subscribe(subject, cb=hear)
        await until(has_been_heard)
