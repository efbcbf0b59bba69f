"""GET /customers/{id} and /customers/external/{external_id}: one customer, by either id."""

from urllib.parse import quote

import httpx
import pytest

from runtime.ids import new_id
from runtime.settings import Settings
from tests.support.api import make_key
from tests.support.customers import REFERENCE, Customers, a_customer, a_list, ids


async def test_one_customer_is_the_row_of_the_list_with_its_version_as_etag(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    one = await reader.get(f"/customers/{jane}")
    assert one.json()["data"] == (await reader.get("/customers")).json()["data"][0]
    assert one.json()["message"] == "Customer retrieved successfully"
    assert one.headers["ETag"] == '"1"'
    assert (await reader.get(f"/customers/{str(jane).upper()}")).status_code == 200


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/customers", "link"),
        ("/customers/tags", "link"),
        ("/customers/{}", "etag"),
        ("/customers/external/cust-001", "etag"),
    ],
)
async def test_head_answers_like_get_without_a_body(
    customers: Customers, reader: httpx.AsyncClient, path: str, header: str
) -> None:
    (jane,) = await customers.add(REFERENCE)
    strict = {"Prefer": "handling=strict"}
    get = await reader.get(path.format(jane), headers=strict)
    head = await reader.head(path.format(jane), headers=strict)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert header in get.headers
    of_each_answer = {"date", "x-request-id", "content-length", "ratelimit"}
    told, expected = (
        {name: said for name, said in answer.headers.items() if name not in of_each_answer}
        for answer in (head, get)
    )
    assert told == expected


async def test_unknown_deleted_and_foreign_customers_are_not_found_in_the_same_words(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (deleted,) = await customers.add(REFERENCE)
    await customers.delete(deleted, REFERENCE)
    (foreign,) = await customers.add(REFERENCE, workspace="globex")
    bodies: list[object] = []
    for customer_id in (deleted, foreign, new_id()):
        answer = await reader.get(f"/customers/{customer_id}")
        assert answer.status_code == 404
        body = answer.json()
        assert body.pop("instance").endswith(str(customer_id))
        del body["meta"]["request_id"]
        bodies.append(body)
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0] == {
        "success": False,
        "status_code": 404,
        "message": "No customer has this id.",
        "errors": [],
        "meta": {},
        "type": "/problems/customer_not_found",
        "title": "Customer not found",
        "status": 404,
        "detail": "No customer has this id.",
    }


@pytest.mark.parametrize(
    "text", ["1", "not-a-uuid", "{}", "01939c2e7c1f7d438f6a0b6f5f3a9d21", "é", "%00", "a" * 5000]
)
async def test_a_malformed_id_is_refused(reader: httpx.AsyncClient, text: str) -> None:
    answer = await reader.get(f"/customers/{text}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "customer_id"


# By external_id.


@pytest.mark.parametrize("external_id", ["cust-001", "a/b", "/", "é?&#", "%", "a b+c", "x" * 255])
async def test_a_customer_is_found_by_its_external_id_percent_encoded(
    customers: Customers, reader: httpx.AsyncClient, external_id: str
) -> None:
    (jane,) = await customers.add(a_customer(1, external_id=external_id))
    answer = await reader.get(f"/customers/external/{quote(external_id, safe='')}")
    assert answer.json() | {"meta": {}} == (await reader.get(f"/customers/{jane}")).json() | {
        "meta": {}
    }
    assert answer.headers["ETag"] == '"1"'


async def test_an_external_id_is_matched_exactly(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    await customers.add(a_customer(1, external_id="Cust-1"))
    for text in ("cust-1", "Cust-", "Cust-1%20", "Cust-%25", "Cust_1"):
        answer = await reader.get(f"/customers/external/{text}")
        assert answer.status_code == 404, text
        assert answer.json()["message"] == "No customer has this external_id."


async def test_a_deleted_customers_external_id_finds_nobody_and_then_its_next_holder(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    data = a_customer(1, external_id="key")
    (first,) = await customers.add(data)
    await customers.delete(first, data)
    gone = await reader.get("/customers/external/key")
    (second,) = await customers.add(data)
    answer = await reader.get("/customers/external/key")
    assert (gone.status_code, answer.json()["data"]["id"]) == (404, str(second))


@pytest.mark.parametrize(
    ("path", "code"), [("", "too_short"), ("/%FF", "invalid_utf8"), ("/a%00", "control_character")]
)
async def test_what_cannot_be_an_external_id_is_refused(
    reader: httpx.AsyncClient, path: str, code: str
) -> None:
    answer = await reader.get(f"/customers/external{path}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


# Conditions.


@pytest.mark.parametrize("path", ["/customers/{}", "/customers/external/cust-001"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_version_that_the_reader_has_is_not_sent_again(
    customers: Customers, reader: httpx.AsyncClient, path: str, method: str
) -> None:
    (jane,) = await customers.add(REFERENCE)
    for known, status in {
        '"1"': 304,
        'W/"1"': 304,
        '"7", "1"': 304,
        "*": 304,
        '"2"': 200,
        '"x"': 200,
    }.items():
        headers = {"If-None-Match": known}
        answer = await reader.request(method, path.format(jane), headers=headers)
        assert (answer.status_code, answer.headers["ETag"]) == (status, '"1"'), known
        assert (answer.content == b"") == (status == 304 or method == "HEAD"), known


async def test_a_customer_that_changed_is_sent_again(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    await customers.update(jane, a_customer(2))
    answer = await reader.get(f"/customers/{jane}", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')


async def test_an_if_none_match_that_cannot_be_read_is_refused(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    headers = {"If-None-Match": "1"}
    answer = await reader.get(f"/customers/{jane}?consistency=no", headers=headers)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [
        "consistency",
        "If-None-Match",
    ]


@pytest.mark.parametrize(
    ("query", "code"), [("a=%FF", "invalid_utf8"), ("&".join(["a=1"] * 1001), "too_many")]
)
async def test_a_query_string_that_cannot_be_read_is_told_of_one_customer_too(
    customers: Customers, reader: httpx.AsyncClient, query: str, code: str
) -> None:
    (jane,) = await customers.add(REFERENCE)
    for path in (f"/customers/{jane}", "/customers/external/cust-001"):
        answer = await reader.get(f"{path}?{query}", headers={"If-None-Match": "1"})
        errors = answer.json()["errors"]
        assert [(error["field"], error["code"]) for error in errors] == [
            ("query", code),
            ("If-None-Match", "malformed_etag"),
        ]
        assert answer.json()["message"] == " ".join(error["error"] for error in errors)


async def test_of_hundreds_of_unknown_parameters_of_one_customer_the_message_stays_short(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    query = "&".join(f"n{number}=1" for number in range(300))
    strict = {"Prefer": "handling=strict"}
    answer = await reader.get(f"/customers/{jane}?{query}", headers=strict)
    assert len(answer.json()["errors"]) == 21
    assert len(answer.json()["message"]) < 200


@pytest.mark.parametrize(
    ("path", "field"),
    [("/customers/zz", "customer_id"), ("/customers/external/%00", "external_id")],
)
async def test_beside_an_id_that_cannot_be_one_all_else_that_is_wrong_is_told(
    reader: httpx.AsyncClient, path: str, field: str
) -> None:
    headers = {"If-None-Match": "1", "X-Consistency-Token": "none", "Prefer": "handling=strict"}
    answer = await reader.get(f"{path}?consistency=x&as_of=0&unheard=of", headers=headers)
    assert answer.status_code == 400
    errors = answer.json()["errors"]
    assert [error["field"] for error in errors] == [
        field,
        "as_of",
        "X-Consistency-Token",
        "consistency",
        "unheard",
        "If-None-Match",
    ]
    alone = await reader.get(path)
    assert alone.json()["errors"] == errors[:1]


async def test_an_if_match_is_no_business_of_a_read(
    customers: Customers, reader: httpx.AsyncClient
) -> None:
    (jane,) = await customers.add(REFERENCE)
    answer = await reader.get(f"/customers/{jane}", headers={"If-Match": "1"})
    assert answer.status_code == 200


# What is not there comes before what is wrong.


async def test_nobody_to_answer_with_comes_before_all_other_faults(
    reader: httpx.AsyncClient,
) -> None:
    for path in (f"/customers/{new_id()}", "/customers/external/x"):
        answer = await reader.get(f"{path}?consistency=no", headers={"If-None-Match": "1"})
        assert answer.status_code == 404


async def test_an_erased_customer_is_gone_for_its_own_workspace_and_unknown_to_others(
    customers: Customers, reader: httpx.AsyncClient, settings: Settings
) -> None:
    (jane,) = await customers.add(REFERENCE)
    await customers.erase(jane)
    own = await reader.get(f"/customers/{jane}")
    assert (own.status_code, own.json()["type"]) == (410, "/problems/customer_erased")
    assert own.json()["message"] == "This customer was erased."
    for key in (make_key(settings, "globex"), make_key(settings, "acme", test=True)):
        other = await reader.get(f"/customers/{jane}", headers={"X-Api-Key": key})
        assert (other.status_code, other.json()["message"]) == (404, "No customer has this id.")
    assert (await reader.get("/customers/external/cust-001")).status_code == 404
    assert ids(await a_list(reader)) == []


@pytest.mark.parametrize(
    "path", ["/customers/{}", "/customers/external/cust-001", "/customers", "/customers/tags"]
)
async def test_unknown_parameters_are_told_or_under_strict_refused(
    customers: Customers, reader: httpx.AsyncClient, path: str
) -> None:
    (jane,) = await customers.add(REFERENCE)
    lax = await reader.get(f"{path.format(jane)}?unheard=of&consistency=eventual")
    headers = {"Prefer": "handling=strict"}
    strict = await reader.get(f"{path.format(jane)}?unheard=of", headers=headers)
    assert lax.status_code == 200
    (warning,) = lax.json()["meta"]["warnings"]
    assert "unheard" in warning
    assert strict.status_code == 400
    assert [(error["field"], error["code"]) for error in strict.json()["errors"]] == [
        ("unheard", "unknown_parameter")
    ]
    assert strict.headers["Preference-Applied"] == "handling=strict"
