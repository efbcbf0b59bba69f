"""Getting and listing customers: pages, search, tags, and what is refused."""

from collections.abc import AsyncGenerator
from urllib.parse import quote
from uuid import UUID

import msgspec
import psycopg
import pytest
from psycopg import sql

from events.customer import CustomerData, CustomerDeleted
from events.envelope import CustomerId, WorkspaceId
from events.keys import Keyring
from events.log import PostgresLog
from projections.editions import create_edition
from runtime.ids import new_id
from runtime.postgres import Role, connect_as_owner, make_pool
from runtime.settings import Settings
from tests.support.api import make_key
from tests.support.builders import Writer, created
from tests.support.projecting import Projecting, projecting
from tests.support.querying import Reader, reading
from tests.support.seeding import seed_customers


class Customers:
    """Customers that are in the log and in the read model."""

    def __init__(self, log: PostgresLog, keyring: Keyring, model: Projecting) -> None:
        self._log = log
        self._keyring = keyring
        self._model = model
        self._writers: dict[str, Writer] = {}

    async def add(self, *customers: CustomerData, workspace: str = "acme") -> list[CustomerId]:
        """Make customers, the last one newest."""
        writer = self._writer(workspace)
        ids = [writer.a_customer() for _ in customers]
        for customer_id, data in zip(ids, customers, strict=True):
            event = writer.event(customer_id, 1, created(data))
            await self._log.append([writer.group(event)])
        await self._model.catch_up()
        return ids

    async def delete(self, customer_id: CustomerId, data: CustomerData) -> None:
        """Delete a customer of acme."""
        writer = self._writer("acme")
        event = writer.event(customer_id, 2, CustomerDeleted(customer=data))
        await self._log.append([writer.group(event)])
        await self._model.catch_up()

    def _writer(self, workspace: str) -> Writer:
        fresh = Writer(self._keyring, WorkspaceId(workspace))
        return self._writers.setdefault(workspace, fresh)


@pytest.fixture
async def customers(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog
) -> AsyncGenerator[Customers]:
    """Makes customers."""
    async with projecting(settings, keyring) as model:
        yield Customers(postgres_log, keyring, model)


@pytest.fixture
async def reader(settings: Settings) -> AsyncGenerator[Reader]:
    """A client with a key of acme."""
    async with reading(settings) as reader_:
        yield reader_


def a_customer(number: int = 1, **fields: object) -> CustomerData:
    given = {"email": f"c{number}@example.com"} | fields
    return CustomerData(**given)  # pyright: ignore[reportArgumentType] - tests name the fields


async def a_list(reader: Reader, query: str = "") -> dict[str, object]:
    answer = await reader.client.get(f"/customers{query}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=dict[str, object])


def ids(answer: dict[str, object]) -> list[CustomerId]:
    rows = msgspec.convert(answer["data"], list[dict[str, object]])
    return [CustomerId(UUID(str(row["id"]))) for row in rows]


def meta(answer: dict[str, object]) -> dict[str, object]:
    return msgspec.convert(answer["meta"], dict[str, object])


JANE = CustomerData(
    email="jane@example.com",
    phone="+15550001234",
    first_name="Jane",
    last_name="Doe",
    company_name="Acme Corp",
    external_id="cust-001",
    tags=("vip",),
    custom_fields={
        "account_type": msgspec.Raw(b'"premium"'),
        "big": msgspec.Raw(b"1.00000000000000000001"),
    },
    communication_preferences={"sms": True, "email": True, "voice": False},
)


async def test_a_list_answers_as_the_reference_page_shows(
    customers: Customers, reader: Reader
) -> None:
    (jane,) = await customers.add(JANE)
    answer = await reader.client.get("/customers?page=1&per_page=20")
    body = answer.json()
    assert list(body) == ["success", "status_code", "message", "data", "meta"]
    assert (body["success"], body["status_code"]) == (True, 200)
    assert body["message"] == "Customers retrieved successfully"
    assert list(body["meta"].items())[:-1] == [
        ("page", 1),
        ("per_page", 20),
        ("total", 1),
        ("total_pages", 1),
        ("has_next", False),
        ("has_prev", False),
    ]
    (row,) = body["data"]
    assert row["id"] == str(jane)
    assert row["first_name"] == "Jane"
    assert '"big":1.00000000000000000001' in answer.text


async def test_one_customer_is_the_row_of_the_list_with_its_version_as_etag(
    customers: Customers, reader: Reader
) -> None:
    (jane,) = await customers.add(JANE)
    one = await reader.client.get(f"/customers/{jane}")
    assert one.json()["data"] == (await reader.client.get("/customers")).json()["data"][0]
    assert one.json()["message"] == "Customer retrieved successfully"
    assert one.headers["ETag"] == '"1"'
    assert (await reader.client.get(f"/customers/{str(jane).upper()}")).status_code == 200


@pytest.mark.parametrize("path", ["/customers", "/customers/{}"])
async def test_head_answers_like_get_without_a_body(
    customers: Customers, reader: Reader, path: str
) -> None:
    (jane,) = await customers.add(JANE)
    get = await reader.client.get(path.format(jane))
    head = await reader.client.head(path.format(jane))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_unknown_deleted_and_foreign_customers_are_not_found_in_the_same_words(
    customers: Customers, reader: Reader
) -> None:
    (deleted,) = await customers.add(JANE)
    await customers.delete(deleted, JANE)
    (foreign,) = await customers.add(JANE, workspace="globex")
    bodies: list[object] = []
    for customer_id in (deleted, foreign, new_id()):
        answer = await reader.client.get(f"/customers/{customer_id}")
        assert answer.status_code == 404
        body = answer.json()
        del body["meta"]["request_id"]
        bodies.append(body)
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0] == {
        "success": False,
        "status_code": 404,
        "message": "No customer has this id.",
        "errors": [],
        "meta": {},
    }


@pytest.mark.parametrize(
    "text", ["1", "not-a-uuid", "{}", "01939c2e7c1f7d438f6a0b6f5f3a9d21", "é", "%00", "a" * 5000]
)
async def test_a_malformed_id_is_refused(reader: Reader, text: str) -> None:
    answer = await reader.client.get(f"/customers/{text}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "customer_id"


async def test_the_newest_customer_comes_first_page_by_page(
    customers: Customers, reader: Reader
) -> None:
    made = await customers.add(*(a_customer(number) for number in range(7)))
    seen: list[CustomerId] = []
    for page in (1, 2, 3):
        answer = await a_list(reader, f"?page={page}&per_page=3")
        seen += ids(answer)
        told = meta(answer)
        assert (told["total"], told["total_pages"]) == (7, 3)
        assert (told["has_next"], told["has_prev"]) == (page < 3, page > 1)
    assert seen == made[::-1]


async def test_past_the_end_there_is_an_empty_page_with_true_totals(
    customers: Customers, reader: Reader
) -> None:
    await customers.add(a_customer())
    for page in (2, 92233720368547758):
        answer = await a_list(reader, f"?page={page}&per_page=100")
        assert answer["data"] == []
        assert (meta(answer)["total"], meta(answer)["total_pages"]) == (1, 1)
        assert meta(answer)["has_prev"] is True


async def test_an_empty_workspace_has_an_empty_list(customers: Customers, reader: Reader) -> None:
    await customers.add(a_customer(), workspace="globex")
    await customers.add(a_customer(), workspace="acme_test")
    answer = await a_list(reader)
    assert answer["data"] == []
    assert (meta(answer)["total"], meta(answer)["total_pages"]) == (0, 0)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("page=0", ["page"]),
        ("page=-1", ["page"]),
        ("page=abc", ["page"]),
        ("page=", ["page"]),
        ("page=1.0", ["page"]),
        ("page=+1", ["page"]),
        ("page=%D9%A1", ["page"]),
        ("page=92233720368547759", ["page"]),
        (f"page={10**30}", ["page"]),
        (f"page={'9' * 10000}", ["page"]),
        ("page=1&page=2", ["page"]),
        ("per_page=0", ["per_page"]),
        ("per_page=101", ["per_page"]),
        ("per_page=all", ["per_page"]),
        ("page=0&per_page=1000", ["page", "per_page"]),
        ("consistency=strong", ["consistency"]),
        ("search=a&search=b", ["search"]),
        (f"search={'a' * 1001}", ["search"]),
        (f"search={'+'.join(str(number) for number in range(101))}", ["search"]),
        (f"tags={','.join(['a'] * 101)}", ["tags"]),
    ],
)
async def test_parameters_out_of_range_are_refused_by_name(
    reader: Reader, query: str, fields: list[str]
) -> None:
    answer = await reader.client.get(f"/customers?{query}")
    assert answer.status_code == 400
    body = answer.json()
    assert body["success"] is False
    assert [error["field"] for error in body["errors"]] == fields


async def test_the_refusal_names_the_limits(reader: Reader) -> None:
    body = (await reader.client.get("/customers?per_page=101")).json()
    assert body["message"] == "per_page must be from 1 to 100."


@pytest.mark.parametrize("query", ["search=%FF", "tags=%C3%28"])
async def test_a_query_string_that_is_not_utf8_is_refused(reader: Reader, query: str) -> None:
    answer = await reader.client.get(f"/customers?{query}")
    assert answer.status_code == 400
    assert answer.json()["message"] == "The query string is not UTF-8."


async def test_unknown_parameters_are_no_fault(reader: Reader) -> None:
    assert (await reader.client.get("/customers?unheard=of&x")).status_code == 200


# Tags.


async def test_tags_filter_by_any_all_and_none_whatever_their_case(
    customers: Customers, reader: Reader
) -> None:
    both, vip, gold, none = await customers.add(
        a_customer(1, tags=("VIP", "Gold")),
        a_customer(2, tags=("vip",)),
        a_customer(3, tags=("gold", "été")),
        a_customer(4),
    )
    await customers.add(a_customer(5, tags=("vip", "gold")), workspace="globex")
    for query, expected in {
        "tags=vip": [vip, both],
        "tags=ViP": [vip, both],
        "tags=vip,gold": [gold, vip, both],
        "tags= vip , , gold ,": [gold, vip, both],
        "tags=vip&tags=gold": [both],
        "tags=vip,été&tags=gold": [gold, both],
        "tags=ÉTÉ": [gold],
        "tags=ete": [],
        "tags_none=vip": [none, gold],
        "tags_none=vip,gold": [none],
        "tags_none=vip&tags_none=été": [none],
        "tags=gold&tags_none=vip": [gold],
        "tags=": [none, gold, vip, both],
        "tags=,": [none, gold, vip, both],
        "tags=absent": [],
        "tags=vip%0Agold": [],
        "tags=vi": [],
        "tags=%25": [],
    }.items():
        answer = await a_list(reader, f"?{query}")
        assert ids(answer) == expected, query
        assert meta(answer)["total"] == len(expected), query


async def test_tag_totals_stay_exact_when_customers_go(
    customers: Customers, reader: Reader
) -> None:
    first, second = await customers.add(a_customer(1, tags=("vip",)), a_customer(2, tags=("VIP",)))
    await customers.delete(first, a_customer(1, tags=("vip",)))
    answer = await a_list(reader, "?tags=vip")
    assert (ids(answer), meta(answer)["total"]) == ([second], 1)


# Search.


async def test_a_search_looks_at_every_field_and_ranks_what_it_finds(
    customers: Customers, reader: Reader
) -> None:
    exact, elsewhere, prefix, start, phone = await customers.add(
        a_customer(1, first_name="Ann"),
        a_customer(2, company_name="Joann Fabrics"),
        a_customer(3, last_name="Annan"),
        a_customer(4, company_name="The Annex"),
        a_customer(5, phone="+4915550009999", external_id="ANNA-%_1"),
    )
    for query, expected in {
        "ann": [exact, phone, prefix, start, elsewhere],
        "ANN": [exact, phone, prefix, start, elsewhere],
        "an": [phone, prefix, exact, start],
        "nn": [],
        "fabrics joa": [elsewhere],
        "annex ann": [start],
        "c3@example": [prefix],
        "+491555": [phone],
        "+49 1555 000-9999": [phone],
        "0009999": [phone],
        "%_1": [phone],
        "%25": [],
        "-%25_": [phone],
        "_": [],
        "a%25n": [],
        "\\": [],
        "jane": [],
    }.items():
        answer = await a_list(reader, f"?search={query.replace('+', '%2B')}")
        assert ids(answer) == expected, query
        assert meta(answer)["total"] == len(expected), query


async def test_a_plus_that_arrives_as_a_space_still_finds_the_phone(
    customers: Customers, reader: Reader
) -> None:
    (jane,) = await customers.add(JANE)
    assert ids(await a_list(reader, "?search=+15550001234")) == [jane]


async def test_search_sees_neither_accents_nor_case(customers: Customers, reader: Reader) -> None:
    (amelie,) = await customers.add(a_customer(1, first_name="Amélie", last_name="Łuczak"))
    for query in ("amelie", "AMÉLIE", "Ame\N{COMBINING ACUTE ACCENT}lie", "luczak", "ŁUCZAK"):
        assert ids(await a_list(reader, f"?search={quote(query)}")) == [amelie], query


@pytest.mark.parametrize("blank", ["", "%20", "+", "%00", "%E2%80%8B"])
async def test_a_blank_search_is_no_filter(
    customers: Customers, reader: Reader, blank: str
) -> None:
    (jane,) = await customers.add(JANE)
    assert ids(await a_list(reader, f"?search={blank}")) == [jane]


async def test_search_and_tags_go_together(customers: Customers, reader: Reader) -> None:
    vip, _ = await customers.add(
        a_customer(1, first_name="Ann", tags=("vip",)), a_customer(2, first_name="Ann")
    )
    assert ids(await a_list(reader, "?search=ann&tags=vip")) == [vip]
    assert meta(await a_list(reader, "?search=ann&tags_none=vip"))["total"] == 1


async def test_a_search_pages_through_its_ranking(customers: Customers, reader: Reader) -> None:
    made = await customers.add(*(a_customer(number, last_name="Doe") for number in range(5)))
    pages = [ids(await a_list(reader, f"?search=doe&per_page=2&page={page}")) for page in (1, 2, 3)]
    assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]


async def test_beyond_ten_thousand_matches_the_total_is_a_lower_bound(
    reader: Reader, settings: Settings
) -> None:
    with connect_as_owner(settings, "test seed") as owner:
        seed_customers(owner, "acme", 10001)
        told = meta(await a_list(reader, "?search=jane&per_page=100&page=100"))
        assert (told["total"], told["total_pages"]) == (10000, 100)
        assert told["total_is_lower_bound"] is True
        assert told["has_next"] is False
        beyond = await reader.client.get("/customers?search=jane&per_page=100&page=101")
        assert beyond.status_code == 400
        assert beyond.json()["errors"][0]["field"] == "page"

        owner.execute("DELETE FROM edition_1.customers WHERE external_id = 'cust-10001'")
        told = meta(await a_list(reader, "?search=jane&per_page=100&page=101"))
        assert told["total"] == 10000
        assert "total_is_lower_bound" not in told


# Walls.


async def test_a_workspace_sees_only_itself(
    customers: Customers, reader: Reader, settings: Settings
) -> None:
    await customers.add(JANE)
    for workspace in ("globex", "acme-2"):
        async with reading(settings, workspace) as other:
            for query in ("", "?search=jane", "?tags=vip", "?tags_none=x", "?tags=../acme/vip"):
                answer = await a_list(other, query)
                assert (answer["data"], meta(answer)["total"]) == ([], 0)


async def test_the_sandbox_and_the_live_data_are_apart(
    customers: Customers, reader: Reader, settings: Settings
) -> None:
    (live,) = await customers.add(JANE)
    (sandbox,) = await customers.add(JANE, workspace="acme_test")
    key = make_key(settings, "acme", test=True)
    answer = await reader.client.get("/customers", headers={"X-Api-Key": key})
    assert [row["id"] for row in answer.json()["data"]] == [str(sandbox)]
    assert ids(await a_list(reader)) == [live]


async def test_a_key_without_the_scope_reads_nothing(reader: Reader, settings: Settings) -> None:
    key = make_key(settings, "acme", "customers:write")
    answer = await reader.client.get("/customers", headers={"X-Api-Key": key})
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        "API key lacks required scope: customers:read",
    )


async def test_the_api_has_no_right_on_the_tables(settings: Settings) -> None:
    async with (
        make_pool(settings, Role.API, "test api", size=2) as pool,
        pool.connection() as connection,
    ):
        for table in (
            ("edition_1", "customers"),
            ("edition_1", "counts"),
            ("projections", "editions"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(*table)))


# Editions.


async def test_reads_follow_the_live_edition(
    customers: Customers, reader: Reader, settings: Settings
) -> None:
    (jane,) = await customers.add(JANE)
    assert ids(await a_list(reader)) == [jane]
    with connect_as_owner(settings, "test editions") as owner:
        create_edition(owner, 2)
        owner.execute("INSERT INTO edition_2.checkpoints SELECT * FROM edition_1.checkpoints")
        with owner.transaction():
            owner.execute("UPDATE projections.editions SET live = false")
            owner.execute("UPDATE projections.editions SET live = true WHERE edition = 2")
        assert ids(await a_list(reader)) == []
        with owner.transaction():
            owner.execute("UPDATE projections.editions SET live = false")
            owner.execute("UPDATE projections.editions SET live = true WHERE edition = 1")
            owner.execute("DROP SCHEMA edition_2 CASCADE")
            owner.execute("DELETE FROM projections.editions WHERE edition = 2")
        assert ids(await a_list(reader)) == [jane]


async def test_without_an_edition_reads_say_what_to_do(reader: Reader, settings: Settings) -> None:
    with connect_as_owner(settings, "test editions") as owner:
        owner.execute("DELETE FROM projections.editions")
    answer = await reader.client.get("/customers")
    assert answer.status_code == 503
    assert "customers migrate" in answer.json()["message"]
