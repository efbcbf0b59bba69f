"""What a list call asks for, and what its page tells of itself."""

import os
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from litestar.types import Scope

from events.envelope import Position, WorkspaceId
from events.token import Tokens
from query_side.cursors import Cursors
from query_side.list_query import SORT_KEYS
from query_side.pages import check_page, list_meta, page_links
from query_side.requests import PAGE_MAX, ListRequest, RequestReader
from query_side.results import CustomerPage
from runtime.sealing import Sealer
from runtime.settings import MasterKeys
from runtime.web.problems import ApiError

ACME = WorkspaceId("acme")
SEALER = Sealer(MasterKeys(current="k", by_id={"k": os.urandom(32)}))
READER = RequestReader(Tokens(SEALER, 1), Cursors(SEALER))


def a_page(total: int, *, total_is_bound: bool = False) -> CustomerPage:
    return CustomerPage(
        checkpoint=Position(1),
        newest=Position(1),
        parked=False,
        documents=b"",
        total=total,
        total_is_bound=total_is_bound,
        next_place=None,
    )


def asked(query: str = "") -> ListRequest:
    scope = {"query_string": query.encode(), "headers": [], "state": {}}
    request = READER.read_list(cast(Scope, scope), ACME)
    assert isinstance(request, ListRequest)
    return request


def refused(query: str) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as caught:
        asked(query)
    assert caught.value.status == 400
    return [(error.field, error.code) for error in caught.value.errors]


def links(query: str, total: int, cursor: str | None = None, *, exact: bool = True) -> list[str]:
    """The relations of a page's links, each with where it leads."""
    header = page_links("/c", asked(query), total, next_cursor=cursor, is_exact=exact)
    told: list[str] = []
    for link in filter(None, header.get("Link", "").split(", ")):
        target, relation = link.split("; rel=")
        parameters = dict(parse_qsl(urlsplit(target.strip("<>")).query))
        told.append(f"{relation.strip(chr(34))} {parameters.get('page', '')}")
    return told


def test_the_first_page_of_twenty_newest_first_is_the_default() -> None:
    request = asked()
    assert (request.page, request.per_page, request.demand.eventual) == (1, 20, False)
    assert (request.query.offset, request.query.limit) == (0, 20)
    assert request.query.sort == ("-created_at",)


def test_the_last_page_there_can_be_fits_the_database() -> None:
    assert asked(f"page={PAGE_MAX}&per_page=100").query.offset < 2**63 - 100


def test_each_tags_parameter_is_a_group_of_which_one_must_be_there() -> None:
    filters = asked("tags=Vip,gold,VIP&tags=,&tags=new&tags_none=a,b&tags_none=c").query.filters
    assert filters.tags_any == (("acme/vip", "acme/gold"), ("acme/new",))
    assert filters.tags_none == ("acme/a", "acme/b", "acme/c")


def test_a_search_comes_best_first_unless_it_is_sorted() -> None:
    assert asked("search=jane").query.sort == ()
    assert asked("search=jane&sort=-email,last_name").query.sort == ("-email", "last_name")
    assert asked("search=%20").query.sort == ("-created_at",)


@pytest.mark.parametrize("key", SORT_KEYS)
def test_every_key_sorts_both_ways(key: str) -> None:
    assert asked(f"sort={key}").query.sort == (key,)
    assert asked(f"sort=-{key}").query.sort == (f"-{key}",)


@pytest.mark.parametrize(
    ("sort", "code"),
    [
        ("sort=", "unknown_value"),
        ("sort=-", "unknown_value"),
        ("sort=id", "unknown_value"),
        ("sort=lastName", "unknown_value"),
        ("sort=--email", "unknown_value"),
        ("sort=%2Bemail", "unknown_value"),
        ("sort=email,", "unknown_value"),
        ("sort=email, last_name", "unknown_value"),
        ("sort=email,-email", "repeated"),
        ("sort=email&sort=last_name", "repeated"),
    ],
)
def test_an_unknown_empty_or_repeated_sort_key_is_refused(sort: str, code: str) -> None:
    assert refused(sort) == [("sort", code)]


@pytest.mark.parametrize("name", ["email", "phone", "external_id"])
def test_a_blank_filter_is_refused_rather_than_ignored(name: str) -> None:
    assert refused(f"{name}=") == [(name, "blank")]
    if name != "external_id":  # of which white space is a part like any other
        assert refused(f"{name}=%20") == [(name, "blank")]


def test_a_cursor_that_another_version_sealed_is_refused_as_none() -> None:
    for content in (b"", b"\x93", msgspec.msgpack.encode({"place": 1})):
        text = SEALER.seal("cursor", ACME, content)
        assert refused(f"cursor={text}") == [("cursor", "invalid_cursor")]


def test_all_that_is_wrong_is_told_at_once() -> None:
    query = "page=x&per_page=0&search=a&search=b&sort=x&cursor=x&consistency=no&created_after=now"
    assert refused(f"{query}&tags={','.join('abc' * 40)}") == [
        ("page", "not_a_number"),
        ("per_page", "out_of_range"),
        ("tags", "too_many"),
        ("created_after", "invalid_moment"),
        ("search", "repeated"),
        ("sort", "unknown_value"),
        ("page", "excluded"),
        ("cursor", "invalid_cursor"),
        ("consistency", "unknown_value"),
    ]


@pytest.mark.parametrize(
    ("page", "total", "pages", "has_next", "has_prev"),
    [
        (1, 0, 0, False, False),
        (3, 0, 0, False, False),
        (1, 1, 1, False, False),
        (1, 20, 1, False, False),
        (1, 21, 2, True, False),
        (2, 21, 2, False, True),
        (9, 21, 2, False, True),
    ],
)
def test_meta_says_what_comes_before_and_after(
    page: int, total: int, pages: int, has_next: bool, has_prev: bool
) -> None:
    assert list_meta(asked(f"page={page}"), a_page(total), "c" if has_next else None) == {
        "page": page,
        "per_page": 20,
        "total": total,
        "total_pages": pages,
        "has_next": has_next,
        "has_prev": has_prev,
        "next_cursor": "c" if has_next else None,
    }


def test_a_search_is_not_paged_beyond_what_it_counts() -> None:
    found = a_page(10_000, total_is_bound=True)
    check_page(asked("page=500"), found)
    with pytest.raises(ApiError) as caught:
        check_page(asked("page=501"), found)
    assert caught.value.status == 400
    assert "from 1 to 500" in caught.value.message
    assert "cursor" in caught.value.message


def test_links_lead_to_the_first_previous_next_and_last_page() -> None:
    assert links("", 0) == ["first 1"]
    assert links("", 20) == ["first 1", "last 1"]
    assert links("", 21) == ["first 1", "next 2", "last 2"]
    assert links("page=2&per_page=5", 21) == ["first 1", "prev 1", "next 3", "last 5"]
    assert links("page=5&per_page=5", 21) == ["first 1", "prev 4", "last 5"]


def test_the_page_before_one_past_the_end_is_the_last() -> None:
    assert links("page=99", 21) == ["first 1", "prev 2", "last 2"]


def test_without_an_exact_total_no_page_is_the_last() -> None:
    assert links("search=a&page=2", 10_000, "c", exact=False) == ["first 1", "prev 1", "next 3"]


def test_where_pages_end_and_the_list_does_not_the_next_one_is_behind_the_cursor() -> None:
    header = page_links("/c", asked("search=a&page=500"), 10_000, next_cursor="xyz", is_exact=False)
    assert '</c?search=a&cursor=xyz>; rel="next"' in header["Link"]


def test_links_keep_every_other_parameter_percent_encoded() -> None:
    query = "tags=a%2Cb&tags=c%26d&search=%2B1+%C3%A9%22%3E&page=1&x=y"
    header = page_links("/c", asked(query), 21, next_cursor="z", is_exact=True)
    kept = "tags=a%2Cb&tags=c%26d&search=%2B1+%C3%A9%22%3E&x=y"
    assert f'</c?{kept}&page=2>; rel="next"' in header["Link"]
    assert header["Link"].isascii()
