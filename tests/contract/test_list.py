"""GET /customers: pages, filters and order. Tags, search and cursors have files of their own."""

from datetime import datetime, timedelta, timezone
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from events.envelope import CustomerId
from tests.support.customers import REFERENCE, Customers, a_customer, a_list, ids, meta


async def test_a_list_answers_as_the_reference_page_shows(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    answer = await reader.get("/customers?page=1&per_page=20")
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
        ("next_cursor", None),
    ]
    (row,) = body["data"]
    assert row["id"] == str(jane)
    assert row["first_name"] == "Jane"
    assert '"big":1.00000000000000000001' in answer.text


async def test_the_newest_customer_comes_first_page_by_page(
    customers: Customers, reader: httpx.AsyncClient
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
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    await customers.add(a_customer())
    for page in (2, 92233720368547758):
        answer = await a_list(reader, f"?page={page}&per_page=100")
        assert answer["data"] == []
        assert (meta(answer)["total"], meta(answer)["total_pages"]) == (1, 1)
        assert meta(answer)["has_prev"] is True


async def test_an_empty_workspace_has_an_empty_list(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
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
    reader: httpx.AsyncClient, query: str, fields: list[str]
) -> None:
    answer = await reader.get(f"/customers?{query}")
    assert answer.status_code == 400
    body = answer.json()
    assert body["success"] is False
    assert [error["field"] for error in body["errors"]] == fields


async def test_the_refusal_names_the_limits(reader: httpx.AsyncClient) -> None:
    body = (await reader.get("/customers?per_page=101")).json()
    assert body["message"] == "per_page must be from 1 to 100."


@pytest.mark.parametrize("query", ["search=%FF", "tags=%C3%28"])
async def test_a_query_string_that_is_not_utf8_is_refused(
    reader: httpx.AsyncClient, query: str
) -> None:
    answer = await reader.get(f"/customers?{query}")
    assert answer.status_code == 400
    assert answer.json()["message"] == "The query string is not UTF-8; percent-encode it anew."


# Filters.


async def found(reader: httpx.AsyncClient, query: str) -> list[CustomerId]:
    """Whom a list shows, after a look at its total."""
    answer = await a_list(reader, f"?{query}")
    assert meta(answer)["total"] == len(ids(answer)), query
    return ids(answer)


async def test_email_is_matched_exactly_but_for_case(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    jane, twin, accent, plus, _ = await customers.add(
        a_customer(email="Jane@Example.com"),
        a_customer(email="jane@example.com"),
        a_customer(email="jané@example.com"),
        a_customer(email="jane+tag@example.com"),
        a_customer(email="jane@example.com.test"),
    )
    assert await found(reader, "email=JANE@example.COM") == [twin, jane]
    assert await found(reader, "email=JANÉ@example.com") == [accent]
    assert await found(reader, "email=jane%2Btag@example.com") == [plus]
    assert await found(reader, "email=jane+tag@example.com") == [plus]
    for absent in ("jane@example", "%25", "jane_example.com", "jane"):
        assert await found(reader, f"email={absent}") == []


async def test_phone_is_matched_exactly_also_when_its_plus_came_as_a_space(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    jane, _ = await customers.add(
        a_customer(1, phone="+15550001234"), a_customer(2, phone="+155500012345")
    )
    assert await found(reader, "phone=%2B15550001234") == [jane]
    assert await found(reader, "phone=+15550001234") == [jane]
    for absent in ("15550001234", "%2B1555000123", "%2B1 555 0001234"):
        assert await found(reader, f"phone={absent}") == []


async def test_external_id_is_matched_exactly(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    a, b, blank = await customers.add(
        *(
            a_customer(number, external_id=external_id)
            for number, external_id in enumerate(["Key 1", "key 1", " "])
        )
    )
    assert await found(reader, "external_id=Key+1") == [a]
    assert await found(reader, "external_id=key%201") == [b]
    assert await found(reader, "external_id=KEY+1") == []
    assert await found(reader, "external_id=%20") == [blank]


async def test_created_after_and_updated_after_mean_strictly_after(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    first, second, third = await customers.add(*(a_customer(number) for number in range(3)))
    rows = (await reader.get("/customers?sort=created_at")).json()["data"]
    middle = rows[1]["created_at"]
    assert await found(reader, f"created_after={middle}") == [third]
    assert await found(reader, f"created_after={rows[0]['created_at']}") == [third, second]
    # A plus that came as a space, and another zone.
    same = datetime.fromisoformat(middle).astimezone(timezone(timedelta(hours=2)))
    assert await found(reader, f"created_after={same.isoformat()}") == [third]
    assert await found(reader, f"created_after={quote(same.isoformat())}") == [third]

    await customers.update(first, a_customer(0, first_name="Ann"))
    assert await found(reader, f"updated_after={middle}") == [third, first]
    assert await found(reader, f"updated_after={middle}&created_after={middle}") == [third]
    changed = (await reader.get(f"/customers/{first}")).json()["data"]["updated_at"]
    assert await found(reader, f"updated_after={changed}") == []


@pytest.mark.parametrize("name", ["created_after", "updated_after"])
@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "1e9", "0000-01-01T00:00:00Z"]
)
async def test_what_is_no_moment_is_refused(
    reader: httpx.AsyncClient, name: str, value: str
) -> None:
    answer = await reader.get(f"/customers?{name}={value}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, name)


async def test_any_moment_that_rfc_3339_can_write_is_taken(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (one,) = await customers.add(a_customer())
    assert await found(reader, "created_after=0001-01-01T00:00:00Z") == [one]
    assert await found(reader, "updated_after=9999-12-31T23:59:59.999999Z") == []


async def test_filters_all_go_together(customers: Customers, reader: httpx.AsyncClient) -> None:
    wanted = {
        "email": "jane@example.com",
        "phone": "+15550001234",
        "external_id": "cust-001",
        "tags": ("vip", "gold"),
        "first_name": "Jane",
    }
    (first,) = await customers.add(a_customer(0, email="first@example.com"))
    start = (await reader.get(f"/customers/{first}")).json()["data"]["created_at"]
    (jane,) = await customers.add(a_customer(1, **wanted))
    query = (
        "email=jane@example.com&phone=%2B15550001234&external_id=cust-001&tags=vip&tags=gold"
        f"&tags_none=new&search=jane&created_after={start}&updated_after={start}"
    )
    assert await found(reader, query) == [jane]
    assert await found(reader, f"{query}&sort=-email,last_name") == [jane]
    for name, other in {
        "email=jane@": "email=joe@",
        "phone=%2B1": "phone=%2B2",
        "external_id=cust": "external_id=x",
        "tags=gold": "tags=x",
        "tags_none=new": "tags_none=vip",
        "search=jane": "search=joe",
        f"created_after={start}": "created_after=2999-01-01T00:00:00Z",
        f"updated_after={start}": "updated_after=2999-01-01T00:00:00Z",
    }.items():
        assert name in query
        assert await found(reader, query.replace(name, other)) == [], name


# Order.


async def test_names_are_sorted_without_case_and_accents_absent_last_and_by_id_in_ties(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    zoe, absent, emile, eve, blank, ebner = await customers.add(
        a_customer(1, last_name="zoe"),
        a_customer(2),
        a_customer(3, last_name="Émile"),
        a_customer(4, last_name="EVE"),
        a_customer(5, last_name=" "),
        a_customer(6, last_name="ébner"),
    )
    up = [ebner, emile, eve, zoe, absent, blank]
    down = [zoe, eve, emile, ebner, blank, absent]
    assert ids(await a_list(reader, "?sort=last_name")) == up
    assert ids(await a_list(reader, "?sort=-last_name")) == down
    for sort, expected in (("last_name", up), ("-last_name", down)):
        pages = [await a_list(reader, f"?sort={sort}&per_page=2&page={n}") for n in (1, 2, 3, 4)]
        assert [ids(page) for page in pages] == [expected[:2], expected[2:4], expected[4:], []]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("company_name", "abcd"),
        ("-company_name", "badc"),
        ("email", "cabd"),
        ("-email", "bacd"),
        ("company_name,-created_at", "abdc"),
        ("company_name,created_at", "abcd"),
        ("-company_name,email", "bacd"),
        ("created_at", "abcd"),
        ("-created_at", "dcba"),
        ("updated_at", "bcda"),
        ("-updated_at", "adcb"),
    ],
)
async def test_every_key_sorts_and_several_sort_in_turn(
    customers: Customers, reader: httpx.AsyncClient, sort: str, expected: str
) -> None:
    made = await customers.add(
        a_customer(email="B@example.com", company_name="acme"),
        a_customer(email="c@example.com", company_name="Globex"),
        a_customer(email="á@example.com"),
        a_customer(email=None, phone="+15550001234"),
    )
    await customers.update(made[0], a_customer(email="B@example.com", company_name="acme"))
    names = dict(zip(made, "abcd", strict=True))
    assert "".join(names[row] for row in ids(await a_list(reader, f"?sort={sort}"))) == expected


async def test_without_a_sort_the_order_is_that_of_minus_created_at(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    made = await customers.add_at_once(*(a_customer(number) for number in range(5)))
    expected = sorted(made, reverse=True)
    assert ids(await a_list(reader)) == ids(await a_list(reader, "?sort=-created_at")) == expected
    assert ids(await a_list(reader, "?sort=created_at")) == expected[::-1]


async def test_the_links_of_a_page_lead_through_the_whole_list(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    made = await customers.add(*(a_customer(n, last_name="D é&") for n in range(5)))
    seen: list[CustomerId] = []
    url, answer = f"/customers?per_page=2&search={quote('d é&')}", None
    while url:
        answer = await reader.get(url.removeprefix("/api/v1/external"))
        seen += [CustomerId(UUID(row["id"])) for row in answer.json()["data"]]
        url = answer.links.get("next", {}).get("url", "")
    assert seen == made[::-1]
    assert answer is not None
    assert answer.links["prev"]["url"].endswith("page=2")
    assert set(answer.links) == {"first", "prev", "last"}


async def test_behind_a_cursor_only_the_next_page_is_linked(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    made = await customers.add(*(a_customer(number) for number in range(3)))
    first = await a_list(reader, "?per_page=1")
    second = await reader.get(f"/customers?per_page=1&cursor={meta(first)['next_cursor']}")
    assert set(second.links) == {"next"}
    last = await reader.get(second.links["next"]["url"].removeprefix("/api/v1/external"))
    assert [row["id"] for row in last.json()["data"]] == [str(made[0])]
    assert "Link" not in last.headers
