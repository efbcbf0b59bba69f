"""Nothing of one workspace is visible in another, nor of its live data in its sandbox."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from psycopg import AsyncConnection, Connection, sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import TupleRow

from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.feed import FEED_BEGINNING, FeedLog
from events.history import HistoryLog
from query_side.list_query import NEWEST_FIRST, Filters, ListQuery
from query_side.queries import ReadModel
from runtime.api_keys import issue_key, name_keys
from runtime.postgres import Pool, Role, ask, connect, connect_as_owner, make_pool
from runtime.settings import Settings
from runtime.text import search_patterns
from tests.support.api import CUSTOMERS, make_key, running_api
from tests.support.customers import REFERENCE, Customers, a_list, ids
from tests.support.signals import until

QUERIES = (
    "",
    "?search=jane",
    "?search=jane&sort=email",
    "?tags=vip",
    "?tags=../acme/vip",
    "?tags_none=x",
    "?tags=vip,gold&tags_none=x",
    "?email=jane@example.com",
    "?phone=%2B15550001234",
    "?external_id=cust-001",
    "?external_id=../acme/cust-001",
    "?created_after=2000-01-01T00:00:00Z",
    "?sort=-last_name,email",
)


@pytest.fixture(params=["globex", "acme-2", "acme_test", "acm"])
def stranger(request: pytest.FixtureRequest, settings: Settings) -> dict[str, str]:
    """The key of another workspace, or of the sandbox of acme."""
    workspace = str(request.param)
    name, is_test = workspace.removesuffix("_test"), workspace.endswith("_test")
    return {"X-Api-Key": make_key(settings, name, test=is_test)}


async def test_what_a_workspace_has_is_in_no_list_total_or_tag_of_another(
    customers: Customers, reader: httpx.AsyncClient, stranger: dict[str, str]
) -> None:
    (jane,) = await customers.add(REFERENCE)
    for query in QUERIES:
        if "../" not in query:
            assert ids(await a_list(reader, query)) == [jane], query
        answer = await reader.get(f"/customers{query}", headers=stranger)
        told = answer.json()
        assert (answer.status_code, told["data"], told["meta"]["total"]) == (200, [], 0), query
        assert told["meta"]["next_cursor"] is None
    tags = await reader.get("/customers/tags", headers=stranger)
    assert (tags.json()["data"], tags.json()["meta"]["total"]) == ([], 0)


async def test_what_a_workspace_has_is_found_by_neither_id_in_another(
    customers: Customers, reader: httpx.AsyncClient, stranger: dict[str, str]
) -> None:
    (jane,) = await customers.add(REFERENCE)
    for path in (f"/customers/{jane}", "/customers/external/cust-001"):
        assert (await reader.get(path)).status_code == 200
        for known in ({}, {"If-None-Match": '"1"'}, {"If-None-Match": "*"}):
            answer = await reader.get(path, headers=stranger | known)
            assert answer.status_code == 404
            assert "ETag" not in answer.headers
    absent = "/customers/external/..%2Facme%2Fcust-001"
    assert (await reader.get(absent, headers=stranger)).status_code == 404


async def test_each_workspace_sees_its_own_of_what_all_have_alike(
    customers: Customers, reader: httpx.AsyncClient, settings: Settings
) -> None:
    spaces = {"acme": False, "globex": False, "acme_test": True}
    made = {space: await customers.add(REFERENCE, workspace=space) for space in spaces}
    for space, is_test in spaces.items():
        key = {"X-Api-Key": make_key(settings, space.removesuffix("_test"), test=is_test)}
        for query in QUERIES:
            answer = await reader.get(f"/customers{query}", headers=key)
            expected = [] if "../" in query else [str(made[space][0])]
            assert [row["id"] for row in answer.json()["data"]] == expected
        own = await reader.get("/customers/external/cust-001", headers=key)
        assert own.json()["data"]["id"] == str(made[space][0])
        tags = await reader.get("/customers/tags", headers=key)
        assert tags.json()["data"] == [{"tag": "vip", "count": 1}]


async def test_a_key_without_the_scope_reads_nothing(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    key = {"X-Api-Key": make_key(settings, "acme", "customers:write")}
    for path in ("/customers", "/customers/tags", "/customers/external/x", "/customers/x"):
        answer = await reader.get(path, headers=key)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "API key lacks required scope: customers:read",
        )


async def test_a_write_under_way_keeps_nobody_of_another_workspace_waiting(
    settings: Settings, stranger: dict[str, str]
) -> None:
    async with running_api(settings) as api:
        acme = {"X-Api-Key": make_key(settings)}
        made = await api.post(CUSTOMERS, json={"email": "jane@example.com"}, headers=acme)
        one = f"{CUSTOMERS}/{made.json()['data']['id']}"
        with connect_as_owner(settings, "test lock") as connection:
            # Nothing is appended while the append's lock is held.
            connection.execute("SELECT pg_advisory_lock(730541, %s)", [settings.log_id])
            written = asyncio.create_task(api.put(one, json={"tags": ["x"]}, headers=acme))

            def is_under_way() -> bool:
                row = connection.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                ).fetchone()
                return row == (1,)

            await until(is_under_way)
            for method in ("PUT", "DELETE"):
                answer = await api.request(method, one, headers=stranger, json={"tags": ["x"]})
                assert (answer.status_code, written.done()) == (404, False)
        assert (await written).status_code == 200


# The second wall: what the database lets an API see that forgot the workspace.


@pytest.fixture
async def api_role(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """A connection with the rights of an API process."""
    async with await connect(settings, Role.API, "test api") as connection:
        yield connection


@pytest.fixture
async def model(settings: Settings) -> AsyncGenerator[ReadModel]:
    """The questions of an API process, put without a route that knows whose they are."""
    async with make_pool(settings, Role.API, "test api", size=2) as pool:
        yield ReadModel(pool, settings.log_id)


def own_schemas(owner: Connection[TupleRow], query: str) -> list[TupleRow]:
    """What there is in all schemas of ours; `query` has the namespace as n."""
    rows = owner.execute(
        sql.SQL(query + " AND n.nspname !~ '^(pg_|information_schema|public$)'")  # pyright: ignore[reportArgumentType] - texts of this file
    ).fetchall()
    assert rows
    return rows


async def test_the_api_can_read_no_table_but_the_checkpoints(
    settings: Settings, api_role: AsyncConnection[TupleRow]
) -> None:
    with connect_as_owner(settings, "test owner") as owner:
        tables = own_schemas(
            owner,
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'p')",
        )
    for schema, table in tables:
        query = sql.SQL("SELECT FROM {}").format(sql.Identifier(schema, table))
        if (schema, table) == ("projections", "checkpoints"):
            # It says nothing of any workspace.
            await api_role.execute(query)
            continue
        with pytest.raises(InsufficientPrivilege):
            await api_role.execute(query)


# These tell nothing of any workspace, or are given what only its own process can know.
WITHOUT_WORKSPACE = {
    "log.append",
    "log.note_ledger_place",
    "log.read_ledger_place",
    "log.read_place",
    "log.keep_secret",
    "log.newest_head",
    "log.prune_receipts",
    "control.beat",
    "control.find_api_key",
    "control.leave",
    "control.missing_migrations",
    "control.newest_process",
    "control.read_progress",
    "edition_1.read_checkpoint",
    "projections.live_edition",
    "projections.read_checkpoints",
}


def test_every_other_function_the_api_may_call_begins_with_the_workspace(
    settings: Settings,
) -> None:
    with connect_as_owner(settings, "test owner") as owner:
        functions = own_schemas(
            owner,
            "SELECT n.nspname || '.' || p.proname, p.proargnames[1] FROM pg_proc p"
            " JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE has_function_privilege('customers_api', p.oid, 'EXECUTE')",
        )
    names = {str(name): str(first) for name, first in functions}
    assert {"edition_1.list_customers", "log.read_newest"} <= set(names)
    others = {name for name, first in names.items() if first != "p_workspace_id"}
    assert others - WITHOUT_WORKSPACE == set()


@pytest.mark.parametrize("forgotten", ["", None, "%", "ACME", "acme/", "globex"])
async def test_a_question_without_the_workspace_is_answered_with_nothing(
    customers: Customers, model: ReadModel, forgotten: str | None
) -> None:
    (jane,) = await customers.add(REFERENCE)
    (gone,) = await customers.add(REFERENCE)
    await customers.erase(gone)
    nobody = WorkspaceId(forgotten)  # pyright: ignore[reportArgumentType] - the fault that is tried

    found = await model.get_customer(nobody, CustomerId(jane))
    assert (found.document, found.version, found.newest) == (None, None, 0)
    assert not (await model.get_customer(nobody, CustomerId(gone))).erased
    for name in ("cust-001", "acme/cust-001", "/acme/cust-001"):
        assert (await model.get_by_external_id(nobody, name)).document is None
    for filters in (
        Filters(),
        Filters(tags_any=(("acme/vip",),)),
        Filters(tags_any=(("acme/vip", "acme/gold"),), tags_none=("x",)),
        Filters(search=search_patterns("jane")),
        Filters(email="jane@example.com"),
        Filters(phone="+15550001234"),
        Filters(external_id="cust-001"),
        Filters(external_id="acme/cust-001"),
    ):
        for sort in (NEWEST_FIRST, ("last_name",), *([()] if filters.search else [])):
            query = ListQuery(filters=filters, sort=sort, offset=0, limit=100)
            page = await model.list_customers(nobody, query)
            assert (page.documents, page.total, page.next_place) == (b"", 0, None)
    tags = await model.list_tags(nobody, 0, 100)
    assert (tags.tags, tags.total) == ([], 0)


@pytest.mark.parametrize("forgotten", ["", None, "%", "ACME", "acme/", "globex"])
async def test_the_feed_without_the_workspace_is_empty(
    customers: Customers, settings: Settings, forgotten: str | None
) -> None:
    await customers.add(REFERENCE)
    nobody = WorkspaceId(forgotten)  # pyright: ignore[reportArgumentType] - the fault that is tried
    async with make_pool(settings, Role.API, "test api", size=2) as pool:
        feed = FeedLog(pool, settings.log_id)
        own = await feed.read_page(WorkspaceId("acme"), FEED_BEGINNING, limit=10, size=1000)
        assert own is not None
        assert len(own.events) == 1
        page = await feed.read_page(nobody, FEED_BEGINNING, limit=10, size=1000)
        assert page is not None
        assert (page.events, page.end, page.position) == ([], FEED_BEGINNING, 0)
        assert await feed.read_page(nobody, own.end, limit=10, size=1000) is None
        assert await feed.find_ends([nobody]) == {nobody: FEED_BEGINNING}


async def test_the_past_without_the_workspace_is_empty(
    customers: Customers, settings: Settings
) -> None:
    (jane,) = await customers.add(REFERENCE)
    acme, first, now = WorkspaceId("acme"), StreamVersion(1), datetime.now(UTC)
    async with make_pool(settings, Role.API, "test api", size=2) as pool:
        log = HistoryLog(pool, settings.log_id)
        place = await log.find_moment(acme, now)
        assert place is not None
        assert place.sequence == 1
        for name in ("acme", "", None, "%", "ACME", "acme/", "globex"):
            asked = WorkspaceId(name)  # pyright: ignore[reportArgumentType] - the fault that is tried
            is_own = name == acme
            page = await log.read_page(asked, jane, StreamVersion(0), limit=9, size=1000)
            assert (page is not None) is is_own
            assert (await log.read_version(asked, jane, first) is not None) is is_own
            assert (await log.read_at(asked, jane, place) is not None) is is_own
            listed = await log.list_at(asked, place, None, limit=9, looks=9)
            assert (len(listed.customers), listed.next_before) == (int(is_own), None)
            assert await log.has_moment(asked, place) is is_own
            assert await log.find_moment(asked, now) == (place if is_own else FEED_BEGINNING)
            assert len(await _names(pool, asked, _key(settings))) == int(is_own)


async def _names(pool: Pool, workspace_id: WorkspaceId, key_id: UUID) -> dict[UUID, str]:
    return await ask(pool, lambda connection: name_keys(connection, workspace_id, [key_id]))


def _key(settings: Settings) -> UUID:
    """The id of a new key of acme."""
    with connect_as_owner(settings, "test keys") as owner:
        return issue_key(owner, workspace="acme").key_id


async def test_the_same_questions_with_the_workspace_are_answered(
    customers: Customers, model: ReadModel
) -> None:
    (jane,) = await customers.add(REFERENCE)
    acme = WorkspaceId("acme")
    assert (await model.get_customer(acme, CustomerId(jane))).version == 1
    assert (await model.get_by_external_id(acme, "cust-001")).version == 1
    filters = Filters(tags_any=(("acme/vip",),), email="jane@example.com", external_id="cust-001")
    query = ListQuery(filters=filters, sort=("last_name",), offset=0, limit=100)
    assert (await model.list_customers(acme, query)).total == 1
    assert (await model.list_tags(acme, 0, 100)).tags == [("vip", 1)]
