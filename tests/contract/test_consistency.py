"""Consistency tokens and `consistency=eventual`, with a projector that runs or does not."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import httpx
import msgspec
import nats.errors
import pytest
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position, WorkspaceId
from events.keys import Keyring
from events.token import Tokens
from projections.runner import ProjectorRunner
from runtime.postgres import Role, connect
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.feed import EVENTS, STREAM
from tests.support.signals import LIMIT_SECONDS, until

TOKEN = "X-Consistency-Token"
JANE = {"email": "jane@example.com", "external_id": "cust-001", "tags": ["vip"]}
READS = (
    CUSTOMERS,
    f"{CUSTOMERS}?search=jane",
    f"{CUSTOMERS}/tags",
    f"{CUSTOMERS}/external/cust-001",
)


def no_nats() -> Client:
    raise nats.errors.ConnectionClosedError


async def nobody_hears(position: Position) -> None:
    pass


@asynccontextmanager
async def a_running_projector(settings: Settings, keyring: Keyring) -> AsyncGenerator[None]:
    """A projector runs while the block does; NATS is away."""

    async def connecting() -> AsyncConnection[TupleRow]:
        return await connect(settings, Role.PROJECTOR, "test projector")

    runner = ProjectorRunner(
        connecting, no_nats, keyring, 1, log_id=settings.log_id, ring=nobody_hears
    )
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def both(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides whose reads do not wait long; NATS is away."""
    hasty = msgspec.structs.replace(settings, read_wait=0.05, nats_url="nats://127.0.0.1:1")
    async with running_api(hasty) as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
async def patient(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides whose reads wait as long as a test may take; NATS is away."""
    waiting = msgspec.structs.replace(settings, read_wait=60, nats_url="nats://127.0.0.1:1")
    async with running_api(waiting) as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
def tokens(settings: Settings) -> Tokens:
    """Issues tokens as the service does."""
    return Tokens(Sealer(read_master_keys(settings)), settings.log_id)


async def write(client: httpx.AsyncClient) -> str:
    """Make a customer; the token of it."""
    answer = await client.post(CUSTOMERS, json=JANE)
    assert answer.status_code == 200
    return answer.headers[TOKEN]


async def answers(
    client: httpx.AsyncClient, path: str, status: int, headers: dict[str, str] | None = None
) -> bool:
    """Whether a read is answered so by now."""
    return (await client.get(path, headers=headers)).status_code == status


async def test_a_read_with_the_token_of_a_write_shows_it(
    patient: httpx.AsyncClient, settings: Settings, keyring: Keyring
) -> None:
    token = await write(patient)
    reads = [
        asyncio.create_task(patient.get(path, headers={TOKEN: token}))
        for path in (*READS, f"{CUSTOMERS}?consistency=eventual")
    ]
    async with a_running_projector(settings, keyring):
        for read in reads:
            answer = await read
            assert answer.status_code == 200
            assert answer.json()["data"] != []
            assert "stale" not in answer.json()["meta"]


@pytest.mark.parametrize("path", [*READS, f"{CUSTOMERS}?consistency=eventual"])
async def test_a_read_that_does_not_show_its_token_in_time_is_503(
    both: httpx.AsyncClient, path: str
) -> None:
    token = await write(both)
    answer = await both.get(path, headers={TOKEN: token})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["type"] == "/problems/unavailable"


async def test_without_a_token_a_read_past_its_wait_is_answered_and_says_stale(
    both: httpx.AsyncClient,
) -> None:
    await write(both)
    for path in READS[:3]:
        answer = await both.get(path)
        assert (answer.status_code, answer.json()["data"]) == (200, [])
        assert answer.json()["meta"]["stale"] is True
    answer = await both.get(READS[3])
    assert (answer.status_code, answer.json()["meta"]["stale"]) == (404, True)


async def test_an_eventual_read_does_not_wait(patient: httpx.AsyncClient) -> None:
    await write(patient)
    async with asyncio.timeout(LIMIT_SECONDS):
        answer = await patient.get(f"{CUSTOMERS}?consistency=eventual")
    assert (answer.status_code, answer.json()["meta"]["stale"]) == (200, True)


async def test_what_is_stale_is_no_304(
    both: httpx.AsyncClient, settings: Settings, keyring: Keyring
) -> None:
    await write(both)
    known = {"If-None-Match": '"1"'}
    async with a_running_projector(settings, keyring):
        await until(lambda: answers(both, READS[3], 304, known))
    await both.put(READS[3], json={"firstName": "Jane"})
    answer = await both.get(READS[3], headers=known)
    assert (answer.status_code, answer.json()["meta"]["stale"]) == (200, True)


async def test_a_projector_that_starts_again_makes_reads_fresh_again(
    patient: httpx.AsyncClient, settings: Settings, keyring: Keyring
) -> None:
    for number in range(2):
        await patient.post(CUSTOMERS, json={"email": f"{number}@example.com"})
        async with a_running_projector(settings, keyring):
            answer = await patient.get(CUSTOMERS)
            assert answer.json()["meta"]["total"] == number + 1
            assert "stale" not in answer.json()["meta"]


async def test_a_token_that_was_passed_long_ago_costs_no_wait(
    patient: httpx.AsyncClient, settings: Settings, keyring: Keyring
) -> None:
    token = await write(patient)
    await patient.put(READS[3], json={"firstName": "Jane"})
    async with a_running_projector(settings, keyring):
        assert (await patient.get(CUSTOMERS)).status_code == 200
    answer = await patient.get(CUSTOMERS, headers={TOKEN: token})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", READS)
async def test_what_is_no_token_of_this_workspace_is_refused(
    both: httpx.AsyncClient, settings: Settings, keyring: Keyring, tokens: Tokens, path: str
) -> None:
    own = await write(both)
    place = tokens.read(WorkspaceId("acme"), own)
    assert place is not None

    def issue(workspace: str, issuer: Tokens = tokens) -> str:
        return issuer.issue(
            WorkspaceId(workspace), generation=1, position=place.position, chain=place.chain
        )

    other_log = Tokens(Sealer(read_master_keys(settings)), settings.log_id + 1)
    async with a_running_projector(settings, keyring):
        await until(lambda: answers(both, READS[3], 200))
    for token in ("", "x", own[:-1], f"{own}A", issue("globex"), issue("acme_test")):
        answer = await both.get(path, headers={TOKEN: token})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["field"], error["code"]) == (400, TOKEN, "invalid_token")
    answer = await both.get(path, headers={TOKEN: issue("acme", other_log)})
    assert answer.status_code == 400
    assert (await both.get(path, headers={TOKEN: issue("acme")})).status_code == 200


@pytest.mark.parametrize("path", [*READS, f"{CUSTOMERS}?consistency=eventual"])
async def test_a_token_of_a_lost_history_is_410_at_once_and_says_what_to_do(
    patient: httpx.AsyncClient, tokens: Tokens, path: str
) -> None:
    place = tokens.read(WorkspaceId("acme"), await write(patient))
    assert place is not None
    elsewhere = {"position": Position(place.position + 1), "chain": place.chain}
    otherwise = {"position": place.position, "chain": b"anything"}
    for lost in (elsewhere, otherwise):
        token = tokens.issue(WorkspaceId("acme"), generation=1, **lost)  # pyright: ignore[reportArgumentType] - two kinds of values
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = await patient.get(path, headers={TOKEN: token})
        assert answer.status_code == 410
        assert answer.json()["type"] == "/problems/lost_history"
        assert "without the token" in answer.json()["message"]


async def test_a_token_of_an_older_generation_that_shares_the_place_is_good(
    both: httpx.AsyncClient, settings: Settings, keyring: Keyring, tokens: Tokens
) -> None:
    place = tokens.read(WorkspaceId("acme"), await write(both))
    assert place is not None
    token = tokens.issue(
        WorkspaceId("acme"), generation=99, position=place.position, chain=place.chain
    )
    async with a_running_projector(settings, keyring):
        await until(lambda: answers(both, CUSTOMERS, 200, {TOKEN: token}))


async def test_the_feed_shows_every_write_without_waiting_whatever_freshness_is_asked_for(
    both: httpx.AsyncClient,
) -> None:
    asked = {TOKEN: await write(both), "Prefer": "handling=strict"}
    for query in ("", "?consistency=eventual"):
        answer = await both.get(f"{EVENTS}{query}", headers=asked)
        assert (answer.status_code, len(answer.json()["data"])) == (200, 1)
        assert (await both.head(f"{STREAM}{query}", headers=asked)).status_code == 200


@pytest.mark.parametrize("path", [EVENTS, STREAM])
async def test_the_feed_refuses_a_token_as_other_reads_do(
    both: httpx.AsyncClient, tokens: Tokens, path: str
) -> None:
    acme = WorkspaceId("acme")
    beyond = tokens.issue(acme, generation=1, position=Position(1), chain=b"elsewise")
    foreign = tokens.issue(
        WorkspaceId("globex"), generation=1, position=Position(1), chain=b"elsewise"
    )
    for token, status in ((beyond, 410), (foreign, 400), ("nothing", 400), ("", 400)):
        assert (await both.get(path, headers={TOKEN: token})).status_code == status
    strong = await both.get(f"{path}?consistency=strong")
    assert strong.json()["errors"][0]["code"] == "unknown_value"
