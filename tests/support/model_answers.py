"""What an answer must say, for what the model says of the call."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from tests.support.model import MEMBERS, Customer, Json, Refusal, RowDone

Outcome: TypeAlias = Customer | list[RowDone]


@dataclass
class Kept:
    """The first success of an Idempotency-Key."""

    payload: tuple[str, bytes | None]
    answer: httpx.Response


def assert_same(shown: list[Json], expected: list[Customer]) -> None:
    """These documents are those of these customers, in this order."""
    assert [list(document) for document in shown] == [MEMBERS] * len(shown)
    # As text, so that the order of keys and 1 against true count too.
    documents = [customer.document for customer in expected]
    assert json.dumps(shown) == json.dumps(documents), (shown, documents)


def assert_refused(answer: httpx.Response, refusal: Refusal) -> None:
    """The call was refused as the model says."""
    body = answer.json()
    assert answer.status_code == refusal.status, (answer.text, refusal)
    assert {error["pointer"] for error in body["errors"]} >= refusal.pointers, answer.text
    if refusal.status == 400:
        assert {error["pointer"] for error in body["errors"]} == refusal.pointers, answer.text
        assert all(error["field"] and error["error"] and error["code"] for error in body["errors"])
    if refusal.status == 412:
        assert body["current_version"] == refusal.version
        shown = answer.headers.get("ETag")
        assert shown == (None if refusal.version is None else f'"{refusal.version}"')
    if refusal.status == 409:
        assert body["existing_id"] == refusal.existing_id


def assert_done(answer: httpx.Response, outcome: Outcome, *, is_dry: bool) -> None:
    """The write was done as the model says."""
    assert answer.status_code == 200, (answer.text, outcome)
    data = answer.json()["data"]
    if isinstance(outcome, list):
        is_about_some = not is_dry and any(row.customer for row in outcome)
        assert ("X-Consistency-Token" in answer.headers) == is_about_some
        _assert_bulk_done(data, outcome)
        return
    assert answer.headers["X-Consistency-Token"]
    assert answer.headers["ETag"] == f'"{outcome.version}"'
    if outcome.is_deleted:
        assert data == {"id": outcome.id}
    else:
        outcome.learn(data)
        assert_same([data], [outcome])


def _assert_bulk_done(data: Json, outcome: list[RowDone]) -> None:
    for index, (shown, row) in enumerate(zip(data["results"], outcome, strict=True)):
        named = {"index": index, "external_id": row.external_id, "status": row.status}
        if row.customer is None:
            errors = shown.pop("errors")
            assert shown == named, row
            assert {error["pointer"] for error in errors} == row.pointers, (errors, row.pointers)
        else:
            row.customer.id = row.customer.id or shown["id"]
            expected = named | {"id": row.customer.id, "version": row.version}
            assert shown == expected
    counts = Counter(row.status for row in outcome)
    for status in ("created", "updated", "unchanged", "failed"):
        assert data[status] == counts[status]
    assert data["total"] == len(outcome)


def assert_kept(answer: httpx.Response, kept: Kept, *, is_other: bool) -> None:
    """The second sending got the first answer, or was refused for another payload."""
    if is_other:
        assert answer.status_code == 422, answer.text
        return
    assert answer.status_code == 200, answer.text
    assert answer.headers["Idempotency-Replayed"] == "true"
    first, again = kept.answer.json(), answer.json()
    first["meta"].pop("request_id")
    again["meta"].pop("request_id")
    assert again == first
    for name in ("ETag", "Location"):
        assert answer.headers.get(name) == kept.answer.headers.get(name)
