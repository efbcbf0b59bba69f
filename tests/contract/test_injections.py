"""Whatever stands in a parameter, a path or a header is data: no SQL, no pattern, no header."""

from itertools import product
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query_side.list_query import SORT_KEYS
from tests.support.api import CUSTOMERS
from tests.support.customers import REFERENCE, Customers, a_customer, a_list, ids

FRAGMENTS = (
    *(
        "'",
        '"',
        "\\",
        "%",
        "_",
        "--",
        ";",
        "/*",
        "*/",
        "$1",
        "$$",
        "{}",
        "{0}",
        "%s",
        "%(x)s",
        "::",
    ),
    *(") OR 1=1 --", "' UNION SELECT 1 --", "'; DROP TABLE log.events; --", "globex", "../globex/"),
    *("\x00", "\n", "\r\n", "\t", "\x1b[2J", "\u2028", "\ufeff", "İ", "ß", "ﷺ", "\u0301", "😀"),
    *("jane", "vip", "cust-001", "created_at", ",", "-", " ", "a" * 300, "9" * 30, "null", "/"),
)
TEXTS = st.text(max_size=20) | st.lists(st.sampled_from(FRAGMENTS), max_size=5).map("".join)
NAMES = (
    *("search", "email", "phone", "external_id", "tags", "tags_none", "created_after"),
    *("updated_after", "sort", "cursor", "page", "per_page", "consistency", "as_of", "x"),
)
SORTS = st.sampled_from([*SORT_KEYS, *(f"-{key}" for key in SORT_KEYS)])
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=4)
HEADERS = (
    *("X-Request-Id", "Prefer", "If-Match", "If-None-Match", "Idempotency-Key", "traceparent"),
    *("X-Actor", "X-Consistency-Token", "Accept", "Host", "Origin", "Last-Event-ID"),
)
CALLS = (
    ("POST", CUSTOMERS),
    ("GET", f"{CUSTOMERS}/a%0d%0aX-Injected:%201"),
    ("PUT", f"{CUSTOMERS}/external/a%0d%0aX-Injected:%201"),
    ("OPTIONS", f"{CUSTOMERS}/a%0d%0aX-Injected:%201"),
)
LIGHTLY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
async def own(customers: Customers) -> set[str]:
    """The ids of acme's customers; another workspace has the same ones."""
    both = [REFERENCE, a_customer(2, first_name="O'Neil", company_name="100% \\ _ $1 {}")]
    await customers.add(*both, workspace="globex")
    return {str(made) for made in await customers.add(*both)}


@LIGHTLY
@given(query=QUERIES, sort=SORTS | st.none())
async def test_no_parameter_of_a_list_fails_or_shows_another_workspace(
    reader: httpx.AsyncClient, own: set[str], query: list[tuple[str, str]], sort: str | None
) -> None:
    pairs = [*query, *([("sort", sort)] if sort else [])]
    for path in ("/customers", "/customers/tags"):
        answer = await reader.get(f"{path}?{urlencode(pairs)}")
        assert answer.status_code in (200, 400), answer.text
        told = answer.json()
        if answer.status_code == 200 and path == "/customers":
            assert {row["id"] for row in told["data"]} <= own
            assert told["meta"].get("total", 0) <= len(own)
    # What the first ones did to the tables would show here.
    assert set(map(str, ids(await a_list(reader)))) == own


@LIGHTLY
@given(text=TEXTS, after=st.sampled_from(["", "/history", "/personal-data"]))
async def test_no_id_in_a_path_fails_or_leads_to_another_workspace(
    reader: httpx.AsyncClient, own: set[str], text: str, after: str
) -> None:
    for path in (f"/customers/{quote(text, safe='')}{after}", f"/customers/external/{quote(text)}"):
        answer = await reader.get(path)
        assert answer.status_code in (200, 400, 404, 405), (path, answer.text)
        if answer.status_code == 200 and "external" in path:
            assert (answer.json()["data"]["id"] in own, text) == (True, "cust-001")


async def test_a_customer_with_any_text_is_found_by_it_and_no_other_is(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    kept = [text for text in FRAGMENTS if text.isprintable() and len(text) < 100]
    texts = list(dict.fromkeys(text.strip() for text in kept))
    made = await customers.add(
        *(a_customer(number, external_id=f"x{text}x") for number, text in enumerate(texts))
    )
    for text, customer_id in zip(texts, made, strict=True):
        value = quote(f"x{text}x", safe="")
        assert ids(await a_list(reader, f"?external_id={value}")) == [customer_id], text
        found = await reader.get(f"/customers/external/{value}")
        assert found.json()["data"]["id"] == str(customer_id), text


async def test_no_header_of_a_request_makes_one_of_the_answer(both: httpx.AsyncClient) -> None:
    for name, value in product(HEADERS, ("a\r\nX-Injected: 1", "strict\nX-Injected: 1", "\x00")):
        for method, path in CALLS:
            body = {"email": "jane@example.com"} if method in ("POST", "PUT") else None
            answer = await both.request(method, path, headers={name: value}, json=body)
            assert answer.status_code < 500
            for _, told in answer.headers.raw:
                assert not set(told) & set(b"\r\n\0")
                assert b"X-Injected" not in told
