"""Parameters of an address that nobody asks for, or that cannot be read."""

import httpx
import pytest

from tests.support.api import CUSTOMERS

STRICT = {"Prefer": "handling=strict"}
PHONE = {"phone": "+15550001234"}
UNKNOWN = f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"


async def test_unknown_parameters_are_ignored_and_listed(both: httpx.AsyncClient) -> None:
    calls = [
        await both.get(f"{CUSTOMERS}?per-page=3&per_page=1"),
        await both.get(f"{UNKNOWN}?per-page=3"),
        await both.post(f"{CUSTOMERS}?per-page=3", json=PHONE),
    ]
    assert [answer.status_code for answer in calls] == [200, 404, 200]
    for answer in calls:
        warnings = ["per-page is no parameter of this call and was ignored."]
        assert answer.json()["meta"]["warnings"] == warnings


async def test_under_strict_unknown_parameters_are_refused_each_by_its_name(
    both: httpx.AsyncClient,
) -> None:
    calls = [
        await both.get(f"{CUSTOMERS}?a=1&b=2", headers=STRICT),
        await both.post(f"{CUSTOMERS}?a=1&b=2", json=PHONE, headers=STRICT),
        await both.post(f"{CUSTOMERS}/bulk?a=1&b=2", json=[{}], headers=STRICT),
    ]
    for answer in calls:
        assert answer.status_code == 400
        told = [(error["field"], error["code"]) for error in answer.json()["errors"]]
        assert told == [("a", "unknown_parameter"), ("b", "unknown_parameter")]


async def test_every_answer_that_heeded_the_preference_says_so(both: httpx.AsyncClient) -> None:
    created = await both.post(CUSTOMERS, json=PHONE, headers=STRICT)
    own = f"{CUSTOMERS}/{created.json()['data']['id']}"
    answers = [
        created,
        await both.put(own, json={"firstName": "Jane"}, headers=STRICT),
        await both.put(own, json={"nickname": "J"}, headers=STRICT),
        await both.get(CUSTOMERS, headers=STRICT),
        await both.get(UNKNOWN, headers=STRICT),
        await both.delete(own, headers=STRICT),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 200, 404, 200]
    for answer in answers:
        assert answer.headers["preference-applied"] == "handling=strict"


async def test_other_preferences_are_passed_over(both: httpx.AsyncClient) -> None:
    for prefer in ("handling=lenient", "return=minimal", "respond-async", "nonsense=;,"):
        answer = await both.get(f"{CUSTOMERS}?x=1", headers={"Prefer": prefer})
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers


async def test_control_characters_and_bad_utf8_are_refused(both: httpx.AsyncClient) -> None:
    for query in ("search=%00", "search=a%0A", "tags=%7F", "%00=1", "email=%C2%80"):
        answer = await both.get(f"{CUSTOMERS}?{query}")
        assert answer.status_code == 400
        codes = [error["code"] for error in answer.json()["errors"]]
        assert codes == ["control_character"]
    for query in ("search=%ff", "search=%ED%A0%80", "%C3%28=1"):
        assert (await both.get(f"{CUSTOMERS}?{query}")).status_code == 400


@pytest.mark.parametrize(
    ("query", "code"), [("a=%FF", "invalid_utf8"), ("&".join(["a=1"] * 1001), "too_many")]
)
async def test_a_query_string_that_cannot_be_read_is_an_error_like_any_other(
    both: httpx.AsyncClient, query: str, code: str
) -> None:
    for answer in (
        await both.get(f"{CUSTOMERS}?{query}"),
        await both.get(f"{CUSTOMERS}/tags?{query}"),
        await both.post(f"{CUSTOMERS}?{query}", json=PHONE),
        await both.post(f"{CUSTOMERS}/bulk?{query}", json=[{}]),
    ):
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["field"], error["code"]) == (400, "query", code)
        assert answer.json()["message"] == error["error"]


async def test_of_a_few_hundred_faulty_parameters_twenty_are_named_and_the_others_counted(
    both: httpx.AsyncClient,
) -> None:
    unknown = "&".join(f"n{number}=1" for number in range(300))
    control = "&".join(f"n{number}=%00" for number in range(300))
    for query, code in ((unknown, "unknown_parameter"), (control, "control_character")):
        for answer in (
            await both.get(f"{CUSTOMERS}?{query}", headers=STRICT),
            await both.post(f"{CUSTOMERS}?{query}", json=PHONE, headers=STRICT),
        ):
            errors = answer.json()["errors"]
            assert {error["code"] for error in errors} == {code}
            assert [error["field"] for error in errors[-2:]] == ["n19", "query"]
            assert errors[-1]["error"].startswith("280 more ")
            assert len(answer.json()["message"]) < 200
