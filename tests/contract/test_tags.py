"""Tags: filtering lists by them, and GET /customers/tags."""

import httpx
import pytest

from tests.support.customers import Customers, a_customer, a_list, ids, meta


async def test_tags_filter_by_any_all_and_none_whatever_their_case(
    customers: Customers, reader: httpx.AsyncClient
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
        "tags=vi": [],
        "tags=%25": [],
    }.items():
        answer = await a_list(reader, f"?{query}")
        assert ids(answer) == expected, query
        assert meta(answer)["total"] == len(expected), query


async def test_tag_totals_stay_exact_when_customers_go(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    first, second = await customers.add(a_customer(1, tags=("vip",)), a_customer(2, tags=("VIP",)))
    await customers.delete(first, a_customer(1, tags=("vip",)))
    answer = await a_list(reader, "?tags=vip")
    assert (ids(answer), meta(answer)["total"]) == ([second], 1)


async def test_a_list_filtered_by_tags_can_be_sorted_and_walked(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    b, a, _, c = await customers.add(
        a_customer(1, last_name="B", tags=("vip",)),
        a_customer(2, last_name="a", tags=("vip", "gold")),
        a_customer(3, last_name="A"),
        a_customer(4, last_name="C", tags=("VIP",)),
    )
    query = "?tags=vip&sort=last_name&per_page=2"
    first = await a_list(reader, query)
    second = await a_list(reader, f"{query}&cursor={meta(first)['next_cursor']}")
    assert (ids(first), ids(second)) == ([a, b], [c])


# GET /customers/tags.


async def tags(reader: httpx.AsyncClient, query: str = "") -> list[tuple[str, int]]:
    answer = await reader.get(f"/customers/tags{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Tags retrieved successfully"
    return [(row["tag"], row["count"]) for row in answer.json()["data"]]


async def test_tags_are_listed_with_live_counts_the_most_used_first(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    data = a_customer(1, tags=("vip", "gold", "new"))
    first, _, _ = await customers.add(
        data, a_customer(2, tags=("vip", "été")), a_customer(3, tags=("gold", "vip"))
    )
    assert await tags(reader) == [("vip", 3), ("gold", 2), ("new", 1), ("été", 1)]
    await customers.update(first, a_customer(1, tags=("gold",)))
    assert await tags(reader) == [("gold", 2), ("vip", 2), ("été", 1)]
    await customers.delete(first, data)
    assert await tags(reader) == [("vip", 2), ("gold", 1), ("été", 1)]


async def test_a_tag_in_several_spellings_is_one_spelled_as_most_often(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    await customers.add(
        *(a_customer(n, tags=(tag,)) for n, tag in enumerate(["VIP", "Vip", "Vip"]))
    )
    assert await tags(reader) == [("Vip", 3)]
    assert meta(await a_list(reader, "?tags=vIP"))["total"] == 3


async def test_tags_are_paged_like_lists_but_without_a_cursor(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    assert await tags(reader) == []
    await customers.add(a_customer(1, tags=tuple("abcde")))
    answer = await reader.get("/customers/tags?per_page=2&page=2&x=%26")
    told = answer.json()["meta"]
    assert await tags(reader, "?per_page=2&page=2") == [("c", 1), ("d", 1)]
    assert list(told.items())[:6] == [
        ("page", 2),
        ("per_page", 2),
        ("total", 5),
        ("total_pages", 3),
        ("has_next", True),
        ("has_prev", True),
    ]
    assert "next_cursor" not in told
    path = "</api/v1/external/customers/tags?per_page=2&x=%26&page="
    assert answer.headers["Link"] == (
        f'{path}1>; rel="first", {path}1>; rel="prev", {path}3>; rel="next", {path}3>; rel="last"'
    )
    assert await tags(reader, "?page=4&per_page=2") == []
    assert await tags(reader, "?page=92233720368547758&per_page=100") == []


@pytest.mark.parametrize("query", ["page=0", "per_page=101", "page=x", "consistency=no"])
async def test_tag_parameters_out_of_range_are_refused(
    reader: httpx.AsyncClient, query: str
) -> None:
    answer = await reader.get(f"/customers/tags?{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


async def test_head_of_tags_answers_like_get_without_a_body(reader: httpx.AsyncClient) -> None:
    answer = await reader.head("/customers/tags")
    assert (answer.status_code, answer.content) == (200, b"")
