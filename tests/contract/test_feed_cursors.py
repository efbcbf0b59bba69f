"""Cursors of the feed: good for ever, for one workspace and one history, and telling nothing."""

import base64
import hashlib
import struct
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from events.envelope import WorkspaceId
from events.feed import FEED_BEGINNING, FeedPlace
from events.keys import Keyring
from events.log import PostgresLog
from query_side.feed_cursors import FeedCursors
from runtime.settings import Settings
from tests.support.api import make_key, running_api, with_key
from tests.support.builders import ACME, GLOBEX, Writer
from tests.support.feed import EVENTS, STREAM, lose_history, page, sequences, walk
from tests.support.writing import code_of, create, errors


async def cursors_of(client: httpx.AsyncClient) -> list[str]:
    """The cursor behind each event."""
    found: list[str] = []
    start: dict[str, object] = {}
    for _ in await walk(client):
        _, meta = await page(client, limit=1, **start)
        start["after"] = meta["next_cursor"]
        found.append(meta["next_cursor"])
    return found


def refused(answer: httpx.Response) -> bool:
    """Whether the answer says that this is no cursor."""
    return answer.status_code == 400 and errors(answer) == [("after", "invalid_cursor", None)]


async def test_a_cursor_goes_on_behind_its_event(both: httpx.AsyncClient) -> None:
    for _ in range(4):
        await create(both)
    for number, cursor in enumerate(await cursors_of(both), 1):
        assert sequences(await walk(both, after=cursor)) == list(range(number + 1, 5))


async def test_a_cursor_is_good_in_every_process_and_after_master_keys_were_rotated(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    await create(both)
    _, meta = await page(both)
    await create(both)
    new_key = f"new:{base64.b64encode(bytes(range(32))).decode()}"
    rotated = replace(settings, master_keys=f"{new_key},{settings.master_keys}")
    async with running_api(rotated, "query") as other:
        with_key(other, both.headers["X-Api-Key"])
        assert sequences((await page(other, after=meta["next_cursor"]))[0]) == [2]
        assert (await page(other, limit=1))[1]["next_cursor"] == meta["next_cursor"]


async def test_a_cursor_with_any_byte_changed_is_refused(both: httpx.AsyncClient) -> None:
    await create(both)
    (cursor,) = await cursors_of(both)
    raw = base64.urlsafe_b64decode(cursor)
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        assert refused(await both.get(EVENTS, params={"after": _text(changed)})), place


def _text(content: bytes | bytearray) -> str:
    return base64.urlsafe_b64encode(content).decode("ascii")


async def test_what_is_no_cursor_is_refused(both: httpx.AsyncClient) -> None:
    await create(both)
    (cursor,) = await cursors_of(both)
    wrong = ["", "1", "now ", "x" * 36, "x" * 5000, "é" * 36, "-_" * 18, cursor[:-1], f"{cursor}A"]
    for text in (*wrong, f" {cursor}", cursor.swapcase(), f"{cursor[:-4]}===="):
        assert refused(await both.get(EVENTS, params={"after": text})), text
        answer = await both.get(STREAM, params={"after": text})
        assert refused(answer), text


async def test_a_cursor_of_another_workspace_or_space_or_log_is_refused(
    both: httpx.AsyncClient, settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    await create(both)
    (cursor,) = await cursors_of(both)
    place = FeedCursors(settings.log_id).read(ACME, cursor)
    assert place is not None
    for workspace, test in (("globex", False), ("acme", True)):
        space = WorkspaceId(f"{workspace}_test" if test else workspace)
        await postgres_log.append([Writer(keyring, space).creation()])
        key = {"X-Api-Key": make_key(settings, workspace, test=test)}
        answer = await both.get(EVENTS, params={"after": cursor}, headers=key)
        assert refused(answer)
    other_log = FeedCursors(settings.log_id + 1).write(ACME, place)
    assert refused(await both.get(EVENTS, params={"after": other_log}))
    assert FeedCursors(settings.log_id).write(ACME, place) == cursor


async def test_a_made_up_place_is_lost_and_never_shows_anything(
    both: httpx.AsyncClient, settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    await postgres_log.append([Writer(keyring, GLOBEX).creation() for _ in range(3)])
    await create(both)
    (cursor,) = await cursors_of(both)
    cursors = FeedCursors(settings.log_id)
    real = cursors.read(ACME, cursor)
    assert real is not None
    for place in (
        FeedPlace(sequence=1, chain=b"anything"),
        FeedPlace(sequence=2, chain=real.chain),
        FeedPlace(sequence=2**63 - 1, chain=real.chain),
    ):
        for path in (EVENTS, STREAM):
            answer = await both.get(path, params={"after": cursors.write(ACME, place)})
            assert (answer.status_code, code_of(answer)) == (410, "lost_history")
    # Before the first event there is one place in every history, and nothing can be lost.
    assert sequences(await walk(both, after=cursors.write(ACME, FEED_BEGINNING))) == [1]
    before = cursors.write(ACME, FeedPlace(sequence=0, chain=b"anything"))
    negative = _signed(settings, struct.pack(">BIq8s", 1, settings.log_id, -1, real.chain))
    other_version = _signed(settings, struct.pack(">BIq8s", 2, settings.log_id, 1, real.chain))
    for text in (before, negative, other_version):
        for path in (EVENTS, STREAM):
            assert refused(await both.get(path, params={"after": text}))


def _signed(settings: Settings, content: bytes) -> str:
    check = hashlib.sha256(b"customers/1/feed/acme\n" + content).digest()[:6]
    return _text(content + check)


@pytest.mark.parametrize("grown", [0, 1, 5])
async def test_a_place_that_was_lost_is_410_also_when_the_new_history_has_passed_it(
    both: httpx.AsyncClient,
    settings: Settings,
    postgres_log: PostgresLog,
    keyring: Keyring,
    grown: int,
) -> None:
    for _ in range(3):
        await create(both)
    cursors = await cursors_of(both)
    lose_history(settings, behind=2)
    writer = Writer(keyring)
    await postgres_log.append([writer.creation() for _ in range(grown)])

    for path in (EVENTS, STREAM):
        answer = await both.get(path, params={"after": cursors[2]})
        assert (answer.status_code, code_of(answer)) == (410, "lost_history")
        assert "Begin a new copy without a cursor" in answer.json()["message"]
    waiting = await both.get(EVENTS, params={"after": cursors[2], "wait": "30"})
    assert waiting.status_code == 410
    # What came before is in both histories.
    assert sequences(await walk(both, after=cursors[1])) == list(range(3, 3 + grown))


async def test_a_cursor_holds_the_workspaces_own_count_and_nothing_of_others(
    both: httpx.AsyncClient, settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    """The same events get cursors alike in all but the chain, however much others write."""
    await create(both)
    await postgres_log.append([Writer(keyring, GLOBEX).creation() for _ in range(400)])
    await create(both)
    contents: list[Any] = []
    for cursor in await cursors_of(both):
        version, log_id, sequence, chain, check = struct.unpack(
            ">BIq8s6s", base64.urlsafe_b64decode(cursor)
        )
        contents.append((version, log_id, sequence, len(cursor)))
        assert len(chain) + len(check) == 14
    assert contents == [(1, settings.log_id, 1, 36), (1, settings.log_id, 2, 36)]
