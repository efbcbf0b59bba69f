"""The query string of a list call, and the page it asks for."""

import pytest

from query_side.pages import PAGE_MAX, ListRequest, page_meta, read_list_request
from query_side.queries import CustomerPage
from runtime.web.problems import ApiError
from runtime.web.query_string import read_parameters


def a_page(total: int, *, total_is_bound: bool = False) -> CustomerPage:
    return CustomerPage(
        checkpoint=1,  # pyright: ignore[reportArgumentType] - any position
        newest=1,  # pyright: ignore[reportArgumentType] - any position
        parked=False,
        documents=b"",
        total=total,
        total_is_bound=total_is_bound,
    )


def asked(query: str = "") -> ListRequest:
    return read_list_request("acme", query.encode())


def test_parameters_keep_their_order_and_their_blanks() -> None:
    assert read_parameters(b"a=1&b=&a=%2B+x&c") == {"a": ["1", "+ x"], "b": [""], "c": [""]}


@pytest.mark.parametrize("raw", [b"\xff=1", b"a=%ff", b"a=%C3%28", b"a=%ED%A0%80"])
def test_what_is_not_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_parameters(raw)
    assert caught.value.status == 400


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(ApiError) as caught:
        read_parameters(b"&".join([b"a=1"] * 1001))
    assert caught.value.status == 400


def test_the_first_page_of_twenty_is_the_default() -> None:
    request = asked()
    assert (request.page, request.per_page, request.eventual) == (1, 20, False)
    assert (request.query.offset, request.query.limit, request.query.search) == (0, 20, None)


def test_the_last_page_there_can_be_fits_the_database() -> None:
    assert asked(f"page={PAGE_MAX}&per_page=100").query.offset < 2**63


def test_each_tags_parameter_is_a_group_of_which_one_must_be_there() -> None:
    query = asked("tags=Vip,gold,VIP&tags=,&tags=new&tags_none=a,b&tags_none=c").query
    assert query.tags_any == (("acme/vip", "acme/gold"), ("acme/new",))
    assert query.tags_none == ("acme/a", "acme/b", "acme/c")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ApiError) as caught:
        asked(
            "page=x&per_page=0&tags=" + ",".join("abc" * 40) + "&consistency=no&search=a&search=b"
        )
    fields = [error.field for error in caught.value.errors]
    assert fields == ["page", "per_page", "tags", "search", "consistency"]


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
    assert page_meta(asked(f"page={page}"), a_page(total)) == {
        "page": page,
        "per_page": 20,
        "total": total,
        "total_pages": pages,
        "has_next": has_next,
        "has_prev": has_prev,
    }


def test_a_search_is_not_paged_beyond_what_it_counts() -> None:
    found = a_page(10_000, total_is_bound=True)
    assert page_meta(asked("page=500"), found)["total_is_lower_bound"] is True
    with pytest.raises(ApiError) as caught:
        page_meta(asked("page=501"), found)
    assert caught.value.status == 400
    assert "from 1 to 500" in caught.value.message
