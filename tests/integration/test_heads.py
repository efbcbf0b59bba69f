"""Heads are signed while the log moves, kept in three places, and never over a rewritten log."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import psycopg
import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.js.errors import APIError

from events.head_keeper import HeadKeeper
from events.head_sources import HeadFile, HeadStream, HeadTable
from events.heads import SignedHead, fault_of_signature
from events.jetstream import heads_stream_name
from events.keys import Keyring
from events.log import PostgresLog
from events.merkle import Frontier, Span, leaf_hash
from events.relay import RelayState
from events.subtrees import Subtrees
from events.verification import Verified
from runtime.failure import Failure
from runtime.operators.audit import Audit
from runtime.operators.generations import begin_generation
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from runtime.signed_heads import open_book, trusted_keys
from runtime.tasks import end
from tests.support.api import running_api
from tests.support.builders import Writer
from tests.support.seeding import seed_events
from tests.support.signals import until
from tests.support.tampering import SIGNING_KEYS

PUBLISHING = RelayState(condition="publishing", sequence=1)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A service that signs heads all the time."""
    return replace(
        settings,
        signing_keys=SIGNING_KEYS,
        head_seconds=0.02,
        head_file=str(tmp_path / "heads.jsonl"),
    )


@pytest.fixture
async def writer(keyring: Keyring) -> Writer:
    """Writes events of one workspace."""
    return Writer(keyring)


@asynccontextmanager
async def keeping(settings: Settings, client: Client) -> AsyncGenerator[HeadKeeper]:
    """Who signs heads in a relay, while the block runs."""
    stream = HeadStream(lambda: client, settings.log_id)
    keeper = HeadKeeper(
        lambda: connect(settings, Role.RELAY, "test heads"),
        lambda connection: open_book(settings, connection, stream),
        settings.log_id,
        seconds=settings.head_seconds,
    )
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        await end(running)


async def verify(settings: Settings) -> Verified:
    """What `customers verify` finds."""
    audit = Audit(settings)
    return await audit.verify((), first=1, end=None, begun=lambda _: None, tell=lambda _: None)


async def in_file(settings: Settings) -> list[SignedHead]:
    return [head async for head in HeadFile(Path(settings.head_file)).read()]


async def in_stream(settings: Settings, client: Client) -> list[SignedHead]:
    return [head async for head in HeadStream(lambda: client, settings.log_id).read()]


async def in_table(settings: Settings) -> list[SignedHead]:
    async with await connect(settings, Role.RELAY, "test heads") as connection:
        return [head async for head in HeadTable(connection, settings.log_id).read()]


async def until_signed(settings: Settings, position: int) -> None:
    """Return when the file has a head of this position."""

    async def is_there() -> bool:
        return [head.position for head in await in_file(settings)][-1:] == [position]

    await until(is_there)


async def test_a_head_is_signed_when_the_log_has_moved_and_kept_in_three_places(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    async with keeping(settings, client) as keeper, keeping(settings, client):
        # Two of them: only one writes.
        for position in (1, 2):
            await postgres_log.append([writer.creation()])
            await until_signed(settings, position)
        await until(lambda: _is_kept(settings, client, 2))
        judged = keeper.judge(PUBLISHING)
    table = await in_table(settings)
    events = [row.position for row in table]

    assert events == [1, 2]
    assert table == await in_file(settings) == await in_stream(settings, client)
    assert [fault_of_signature(head, trusted_keys(settings)) for head in table] == [None, None]
    assert (table[0].generation, table[0].forked_at) == (1, 0)
    assert table[0].time < table[1].time
    assert judged == PUBLISHING


async def _is_kept(settings: Settings, client: Client, count: int) -> bool:
    return len(await in_stream(settings, client)) == count


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE log.events SET chain = sha256(chain) WHERE position = 2", "rewritten"),
        ("DELETE FROM log.events WHERE position > 1", "The log ends at 1"),
    ],
)
async def test_a_log_that_contradicts_what_was_signed_gets_no_signature_and_that_is_told(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    writer: Writer,
    change: str,
    words: str,
) -> None:
    await postgres_log.append([writer.creation() for _ in range(2)])
    async with keeping(settings, client) as keeper:
        await until_signed(settings, 2)
        with connect_as_owner(settings, "test") as owner:
            owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
            owner.execute("CREATE TABLE public.kept AS SELECT * FROM log.events")
            owner.execute(change.encode())
        await until(lambda: bool(keeper.refusal))
    # One that starts knows no less.
    async with keeping(settings, client) as keeper:
        await until(lambda: bool(keeper.refusal))
        judged = keeper.judge(PUBLISHING)
        assert judged.condition == "not signing"
        assert words in judged.words
        assert "customers relay new-generation" in judged.words
        # Mended, it goes on by itself.
        with connect_as_owner(settings, "test") as owner:
            owner.execute("TRUNCATE log.events")
            owner.execute("INSERT INTO log.events SELECT * FROM public.kept")
        await until(lambda: not keeper.refusal)
    assert [head.position for head in await in_file(settings)] == [2]


async def test_a_chain_that_is_broken_behind_the_last_head_gets_no_signature(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(3)])
    with connect_as_owner(settings, "test") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("UPDATE log.events SET digest = sha256(digest) WHERE position = 2")
    async with keeping(settings, client) as keeper:
        await until(lambda: bool(keeper.refusal))
        assert "breaks at or before position 2" in keeper.refusal
    assert await in_table(settings) == []


async def test_heads_that_a_place_missed_come_to_it_later_and_a_torn_line_hurts_nobody(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer, tmp_path: Path
) -> None:
    def gone() -> Client:
        raise nats.errors.ConnectionClosedError

    folder = tmp_path / "later"
    settings = replace(settings, head_file=str(folder / "heads.jsonl"))
    async with await connect(settings, Role.RELAY, "test heads") as connection:
        stream = HeadStream(gone, settings.log_id)
        book = open_book(settings, connection, stream)
        for _ in range(2):
            await postgres_log.append([writer.creation()])
            await book.write()
        assert set(book.unkept) == {settings.head_file, stream.name}
        assert len(await in_table(settings)) == 2

        folder.mkdir()
        (folder / "heads.jsonl").write_bytes(b'{"log":1,"genera')
        book = open_book(settings, connection, HeadStream(lambda: client, settings.log_id))
        await book.write()
        assert book.unkept == {}
    assert await in_table(settings) == await in_file(settings)
    assert await in_table(settings) == await in_stream(settings, client)


async def test_a_place_that_was_lost_gets_all_heads_again(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    async with keeping(settings, client):
        await postgres_log.append([writer.creation()])
        await until(lambda: _is_kept(settings, client, 1))
        await until_signed(settings, 1)
        Path(settings.head_file).unlink()  # noqa: ASYNC240 - a test
        await client.jetstream().delete_stream(heads_stream_name(settings.log_id))
        await postgres_log.append([writer.creation()])
        await until(lambda: _is_kept(settings, client, 2))
        await until_signed(settings, 2)
    assert len(await in_file(settings)) == 2


async def test_of_the_heads_in_jetstream_none_can_be_taken_away(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])
    async with keeping(settings, client):
        await until(lambda: _is_kept(settings, client, 1))
    stream, name = client.jetstream(), heads_stream_name(settings.log_id)
    with pytest.raises(APIError):
        await stream.delete_msg(name, 1)
    with pytest.raises(APIError):
        await stream.purge_stream(name)
    assert len(await in_stream(settings, client)) == 1


async def test_a_new_generation_says_where_it_forked_and_what_it_left_is_excused(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    for _ in range(3):
        await postgres_log.append([writer.creation()])
        async with keeping(settings, client):
            await until_signed(settings, len(await in_file(settings)) + 1)
    with connect_as_owner(settings, "test") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("DELETE FROM log.events WHERE position > 2")
    # JetStream has no event of this log, so that only the heads know what was lost.
    with pytest.raises(Failure) as lost:
        await Audit(settings).sign()
    fork = await begin_generation(settings, "restored")
    with pytest.raises(Failure) as again:
        await begin_generation(settings, "restored")
    await postgres_log.append([writer.creation() for _ in range(2)])
    async with keeping(settings, client):
        await until_signed(settings, 4)
    newest = (await in_file(settings))[-1]
    verified = await verify(settings)

    assert "The log ends at 2, and the head of 2" in lost.value.reason
    assert (fork.generation, fork.shared, fork.ends_at) == (1, 2, 3)
    assert "No generation was begun" in again.value.reason
    assert (newest.generation, newest.forked_at, newest.position) == (2, 2, 4)
    assert (verified.faults, verified.heads, verified.newest_head) == ([], 3, newest)
    (note,) = verified.notes
    assert note.startswith("1 signed heads of generation 1 are of the history that was lost when")
    assert note.endswith("generation 2 began behind position 2")


async def test_verify_compares_with_the_heads_that_jetstream_alone_still_holds(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(2)])
    async with keeping(settings, client):
        await until(lambda: _is_kept(settings, client, 1))
    with connect_as_owner(settings, "test") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("ALTER TABLE log.heads DISABLE TRIGGER heads_refuse_change")
        owner.execute("DELETE FROM log.events WHERE position > 1")
        owner.execute("DELETE FROM log.heads")
    found = await verify(replace(settings, head_file=""))
    away = await verify(replace(settings, head_file="", nats_url=""))

    assert [fault.position for fault in found.faults] == [2]
    assert away.faults == []
    assert "the heads that JetStream keeps were not compared" in away.notes[-1]


async def test_who_ends_a_verification_in_the_middle_waits_for_nothing(
    settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    class EndedError(Exception):
        """What ends it."""

    def end_it(_: int) -> None:
        raise EndedError

    for _ in range(10):
        await postgres_log.append([writer.creation() for _ in range(500)])
    audit = Audit(settings)
    async with asyncio.timeout(20):
        with pytest.raises(EndedError):
            await audit.verify((), first=1, end=None, begun=lambda _: None, tell=end_it)


async def test_a_log_verifies_while_it_grows(
    settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    async def grow() -> None:
        for _ in range(30):
            await postgres_log.append([writer.creation() for _ in range(5)])

    growing = asyncio.create_task(grow())
    while not growing.done():
        verified = await verify(settings)
        assert (verified.faults, verified.end % 5) == ([], 0)
    await growing
    assert (await verify(settings)).end == 150


async def test_the_tables_of_heads_and_of_generations_cannot_be_changed_by_anybody(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])
    async with keeping(settings, client):
        await until_signed(settings, 1)
    with connect_as_owner(settings, "test") as owner:
        for change in (
            "UPDATE log.heads SET head = ''",
            "DELETE FROM log.heads",
            "TRUNCATE log.heads",
            "SET session_replication_role = replica; DELETE FROM log.heads",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(change.encode())


async def test_the_roots_are_the_same_whatever_of_the_tree_is_kept(settings: Settings) -> None:
    # Small trees of a log, and such as need roots of 256 events.
    sizes = (1, 255, 256, 257, 1000, 5000)
    with connect_as_owner(settings, "test") as owner:
        seed_events(owner, sizes[-1])
        digests = owner.execute("SELECT digest FROM log.events ORDER BY position").fetchall()
        tree, roots = Frontier(), dict[int, bytes]()
        for (digest,) in digests:
            tree.add(leaf_hash(digest))
            roots[tree.size] = tree.root()
        async with await connect(settings, Role.RELAY, "test") as connection:
            subtrees = Subtrees(connection, 1)
            for kept in (0, 256, 3000, 5000):
                await subtrees.fill(kept)
                for size in sizes:
                    assert await subtrees.root(Span(0, size)) == roots[size]
            owner.execute("DELETE FROM log.subtrees WHERE number IN (3, 7)")
            assert await subtrees.root(Span(0, 5000)) == roots[5000]
            owner.execute("TRUNCATE log.subtrees")
            assert await subtrees.root(Span(0, 5000)) == roots[5000]


async def test_the_newest_head_is_served_where_the_settings_open_it(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    opened = replace(settings, publish_heads=True)
    async with running_api(settings) as closed, running_api(opened) as api:
        before = await api.get("/log/head")
        await postgres_log.append([writer.creation()])
        async with keeping(settings, client):
            await until_signed(settings, 1)
        served, refused = await api.get("/log/head"), await closed.get("/log/head")
        known = await api.get("/log/head", headers={"If-None-Match": served.headers["etag"]})
    (kept,) = await in_file(settings)

    assert (before.status_code, served.status_code, known.status_code) == (404, 200, 304)
    assert served.content == kept.encoded()
    assert served.headers["cache-control"] == "public, max-age=10"
    assert refused.status_code == 404
    assert json.loads(before.content)["detail"] == json.loads(refused.content)["detail"]
