"""`search=` of a list: what is found, in which order, and how far it is counted."""

from urllib.parse import quote

import httpx
import pytest

from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.customers import REFERENCE, Customers, a_customer, a_list, ids, meta
from tests.support.seeding import seed_customers


async def test_a_search_looks_at_every_field_and_ranks_what_it_finds(
    customers: Customers, reader: httpx.AsyncClient
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
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    assert ids(await a_list(reader, "?search=+15550001234")) == [jane]


async def test_search_sees_neither_accents_nor_case(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (amelie,) = await customers.add(a_customer(1, first_name="Amélie", last_name="Łuczak"))
    for query in ("amelie", "AMÉLIE", "Ame\N{COMBINING ACUTE ACCENT}lie", "luczak", "ŁUCZAK"):
        assert ids(await a_list(reader, f"?search={quote(query)}")) == [amelie], query


@pytest.mark.parametrize("blank", ["", "%20", "+", "%E2%80%8B"])
async def test_a_blank_search_is_no_filter(
    customers: Customers, reader: httpx.AsyncClient, blank: str
) -> None:
    (jane,) = await customers.add(REFERENCE)
    assert ids(await a_list(reader, f"?search={blank}")) == [jane]


async def test_search_and_tags_go_together(customers: Customers, reader: httpx.AsyncClient) -> None:
    vip, _ = await customers.add(
        a_customer(1, first_name="Ann", tags=("vip",)), a_customer(2, first_name="Ann")
    )
    assert ids(await a_list(reader, "?search=ann&tags=vip")) == [vip]
    assert meta(await a_list(reader, "?search=ann&tags_none=vip"))["total"] == 1


async def test_a_search_pages_through_its_ranking(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    made = await customers.add(*(a_customer(number, last_name="Doe") for number in range(5)))
    pages = [ids(await a_list(reader, f"?search=doe&per_page=2&page={page}")) for page in (1, 2, 3)]
    assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]


async def test_beyond_ten_thousand_matches_the_total_is_a_lower_bound(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    with connect_as_owner(settings, "test seed") as owner:
        seed_customers(owner, "acme", 10001)
        told = meta(await a_list(reader, "?search=jane&per_page=100&page=100"))
        assert (told["total"], told["total_pages"]) == (10000, 100)
        assert told["total_is_lower_bound"] is True
        # Pages end here, and the list does not: the cursor goes on.
        assert told["has_next"] is True
        assert told["next_cursor"] is not None
        beyond = await reader.get("/customers?search=jane&per_page=100&page=101")
        assert beyond.status_code == 400
        assert beyond.json()["errors"][0]["field"] == "page"

        owner.execute("DELETE FROM edition_1.customers WHERE external_id = 'cust-10001'")
        told = meta(await a_list(reader, "?search=jane&per_page=100&page=101"))
        assert told["total"] == 10000
        assert (told["has_next"], told["next_cursor"]) == (False, None)
        assert "total_is_lower_bound" not in told


async def test_every_word_must_match_somewhere_and_not_all_in_the_same_field(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    for query in (
        "jane",
        "doe",
        "jane doe",
        "doe jane",
        "acme jane",
        "corp 0001234",
        "example.com cust-001",
        "ane doe",
        "jane@example.com",
        "T-00",
    ):
        assert ids(await a_list(reader, f"?search={quote(query)}")) == [jane], query
    for query in ("jane smith", "janedoe", "acmecorp", "jane x", "premium", "vip"):
        assert ids(await a_list(reader, f"?search={quote(query)}")) == [], query


async def test_a_phrase_of_first_and_last_name_is_an_exact_match_of_the_full_name(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    full, other = await customers.add(
        a_customer(1, first_name="Jane", last_name="Doe"),
        a_customer(2, company_name="Jane Doering", last_name="Doe"),
    )
    assert ids(await a_list(reader, "?search=jane+doe")) == [full, other]


@pytest.mark.parametrize("special", ["%", "_", "\\"])
async def test_what_like_would_take_for_a_pattern_is_literal(
    customers: Customers, reader: httpx.AsyncClient, special: str
) -> None:
    with_it, _ = await customers.add(
        a_customer(1, company_name=f"ab{special}cd"), a_customer(2, company_name="abxcd")
    )
    for query in (f"b{special}c", f"ab{special}cd", f"{special}cd"):
        assert ids(await a_list(reader, f"?search={quote(query)}")) == [with_it], query
    assert ids(await a_list(reader, f"?search={quote(special)}")) == []


@pytest.mark.parametrize(
    "query",
    [
        "+1 555 000-1234",
        "(555) 000 1234",
        "555.000.1234",
        "0001234",
        "+1555",
        "1234",
        "15550001234",
    ],
)
async def test_a_phone_is_found_by_its_digits_however_they_are_written(
    customers: Customers, reader: httpx.AsyncClient, query: str
) -> None:
    jane, _ = await customers.add(REFERENCE, a_customer(2, phone="+4930765432"))
    for sent in (quote(query), query.replace(" ", "+")):
        assert ids(await a_list(reader, f"?search={sent}")) == [jane], sent


async def test_words_of_one_or_two_characters_match_word_starts_only(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    jo, joanna, _ = await customers.add(
        a_customer(1, email="a@example.com", first_name="Jo"),
        a_customer(2, email="b@example.com", last_name="Anna Joan"),
        a_customer(3, email="c@example.com", last_name="Majors"),
    )
    assert ids(await a_list(reader, "?search=jo")) == [jo, joanna]
    assert ids(await a_list(reader, "?search=j")) == [jo, joanna]
    assert ids(await a_list(reader, "?search=or")) == []
    assert ids(await a_list(reader, "?search=xa")) == []


async def test_matches_come_exact_then_prefix_then_word_start_then_elsewhere_newest_first(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    names = ["Xann", "The Ann", "Annex", "Ann"]
    made = await customers.add(
        *(a_customer(n * 10 + m, company_name=f"{names[m]}") for n in range(2) for m in range(4))
    )
    by_rank = [made[rank + 4 * older] for rank in (3, 2, 1, 0) for older in (1, 0)]
    assert ids(await a_list(reader, "?search=ann")) == by_rank
    pages = [ids(await a_list(reader, f"?search=ann&per_page=3&page={n}")) for n in (1, 2, 3)]
    assert [row for page in pages for row in page] == by_rank


async def test_a_sorted_search_is_in_that_order_instead_of_best_first(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    b, a, c = await customers.add(
        a_customer(1, first_name="Ann", last_name="B"),
        a_customer(2, company_name="Joann", last_name="a"),
        a_customer(3, first_name="Annex"),
    )
    assert ids(await a_list(reader, "?search=ann&sort=last_name")) == [a, b, c]
    assert ids(await a_list(reader, "?search=ann&sort=-created_at")) == [c, a, b]


async def test_a_sorted_search_counts_no_further_than_ten_thousand_either(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    with connect_as_owner(settings, "test seed") as owner:
        seed_customers(owner, "acme", 10001)
    told = meta(await a_list(reader, "?search=jane&sort=created_at&per_page=100&page=100"))
    assert (told["total"], told["total_is_lower_bound"]) == (10000, True)
    assert told["has_next"] is True
    last = await a_list(
        reader, f"?search=jane&sort=created_at&per_page=100&cursor={told['next_cursor']}"
    )
    assert len(ids(last)) == 1
    assert meta(last)["has_next"] is False
    beyond = await reader.get("/customers?search=jane&sort=created_at&per_page=100&page=101")
    assert beyond.status_code == 400


async def test_without_a_search_totals_are_exact_beyond_ten_thousand(
    reader: httpx.AsyncClient, settings: Settings
) -> None:
    with connect_as_owner(settings, "test seed") as owner:
        seed_customers(owner, "acme", 10001)
    for query, total in {
        "": 10001,
        "?tags=common": 9991,
        "?tags=common&tags_none=rare": 9991,
        "?tags=common,rare": 10001,
        "?created_after=2000-01-01T00:00:00Z": 10001,
        "?sort=email": 10001,
    }.items():
        told = meta(await a_list(reader, query))
        assert told["total"] == total, query
        assert "total_is_lower_bound" not in told
