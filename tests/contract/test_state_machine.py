"""Random calls of two workspaces, one with its sandbox, against a model: no answer may differ.

Real processes, real HTTP. Every example begins with workspaces of its own. To run it longer, with
other examples each time: `CUSTOMERS_TEST_EXAMPLES=2000 make test ARGS=-kdiffers_from_the_model`.
"""

import itertools
import json
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import quote

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg.rows import TupleRow

from runtime.settings import Settings
from tests.support.api import make_key
from tests.support.dev import PATIENT, Dev, a_place, running_dev
from tests.support.model import Condition, Customer, Json, Refusal, Space
from tests.support.model_answers import (
    Kept,
    Outcome,
    assert_done,
    assert_kept,
    assert_refused,
    assert_same,
)
from tests.support.model_reads import Query, count_tags, find
from tests.support.model_values import (
    EXTERNAL_IDS,
    FIRST_ROWS,
    Manner,
    has_unknown,
    manners,
    queries,
    rows,
    sent_fields,
)

EXAMPLES = int(os.environ.get("CUSTOMERS_TEST_EXAMPLES", "0"))
CALLS = 40

pytestmark = pytest.mark.timeout(180 + 5 * EXAMPLES)

_numbers = itertools.count(1)
_spaces = strategies.integers(0, 2)
_which = strategies.integers(0, 99)
_pages = strategies.integers(1, 3)


@dataclass
class Workspace:
    """A workspace, or its sandbox: its keys, what the model knows, what keyed writes were told."""

    name: str
    reading: str
    writing: str
    space: Space = field(default_factory=Space)
    kept: dict[tuple[str, str, str], Kept] = field(default_factory=dict[Any, Any])
    token: str | None = None
    fed: list[Json] = field(default_factory=list[Json])
    """The events that the feed has shown so far."""
    cursor: str = ""


class Customers(RuleBasedStateMachine):
    """Every rule is a call; after each write all reads must agree with the model at once."""

    dev: ClassVar[Dev]
    database: ClassVar[psycopg.Connection[TupleRow]]

    def __init__(self) -> None:
        super().__init__()
        database = Settings(database_url=self.dev.said["database_url"])
        first, second = f"one-{next(_numbers)}", f"two-{next(_numbers)}"
        self.workspaces = [
            Workspace(
                f"{name}_test" if test else name,
                make_key(database, name, "customers:read", test=test),
                make_key(database, name, "customers:write", test=test),
            )
            for name, test in ((first, False), (first, True), (second, False))
        ]

    @initialize()
    def begin(self) -> None:
        for at in range(len(self.workspaces)):
            self.bulk(at, FIRST_ROWS, is_bare=False, atomic=True, dry_run=False, manner=Manner())

    @rule(at=_spaces, sent=sent_fields, manner=manners)
    def create(self, at: int, sent: Json, manner: Manner) -> None:
        self._write(
            self.workspaces[at],
            "POST",
            "/customers",
            lambda space: space.create(sent, strict=manner.strict),
            sent=sent,
            manner=manner,
        )

    @rule(
        at=_spaces,
        which=_which,
        sent=sent_fields,
        manner=manners,
        method=strategies.sampled_from(["PUT", "PATCH"]),
    )
    def update(self, at: int, which: int, sent: Json, manner: Manner, method: str) -> None:
        if customer := self._pick(at, which):
            condition = manner.condition(customer)
            self._write(
                self.workspaces[at],
                method,
                f"/customers/{customer.id}",
                lambda space: space.update(
                    customer, sent, strict=manner.strict, condition=condition
                ),
                sent=sent,
                manner=manner,
                condition=condition,
            )

    @rule(at=_spaces, which=_which, manner=manners)
    def delete(self, at: int, which: int, manner: Manner) -> None:
        if customer := self._pick(at, which):
            condition = manner.condition(customer)
            self._write(
                self.workspaces[at],
                "DELETE",
                f"/customers/{customer.id}",
                lambda space: space.delete(customer, condition=condition),
                manner=manner,
                condition=condition,
            )

    @rule(at=_spaces, which=_which, manner=manners)
    def restore(self, at: int, which: int, manner: Manner) -> None:
        if customer := self._pick(at, which):
            condition = manner.condition(customer)
            self._write(
                self.workspaces[at],
                "POST",
                f"/customers/{customer.id}/restore",
                lambda space: space.restore(customer, condition=condition),
                manner=manner,
                condition=condition,
            )

    @rule(
        at=_spaces,
        external_id=strategies.sampled_from(EXTERNAL_IDS),
        sent=sent_fields,
        manner=manners,
        is_named=strategies.sampled_from([False, False, True]),
    )
    def put_external(
        self, at: int, external_id: str, sent: Json, manner: Manner, is_named: bool
    ) -> None:
        if not is_named:
            sent = {name: value for name, value in sent.items() if name != "external_id"}
        condition = manner.condition(self.workspaces[at].space.holder(external_id))
        self._write(
            self.workspaces[at],
            "PUT",
            f"/customers/external/{quote(external_id, safe='')}",
            lambda space: space.put_external(
                external_id, sent, strict=manner.strict, condition=condition
            ),
            sent=sent,
            manner=manner,
            condition=condition,
        )

    @rule(at=_spaces, external_id=strategies.sampled_from(EXTERNAL_IDS), manner=manners)
    def delete_external(self, at: int, external_id: str, manner: Manner) -> None:
        condition = manner.condition(self.workspaces[at].space.holder(external_id))

        def decide(space: Space) -> Customer:
            holder = space.holder(external_id)
            if holder is None:
                raise Refusal(404)
            return space.delete(holder, condition=condition)

        self._write(
            self.workspaces[at],
            "DELETE",
            f"/customers/external/{quote(external_id, safe='')}",
            decide,
            manner=manner,
            condition=condition,
        )

    @rule(
        at=_spaces,
        sent=rows,
        is_bare=strategies.booleans(),
        atomic=strategies.sampled_from([False, False, True]),
        dry_run=strategies.sampled_from([False, False, True]),
        manner=manners,
    )
    def bulk(
        self,
        at: int,
        sent: list[Any],
        is_bare: bool,
        atomic: bool,
        dry_run: bool,
        manner: Manner,
    ) -> None:
        self._write(
            self.workspaces[at],
            "POST",
            "/customers/bulk",
            lambda space: space.bulk(
                sent,
                pointer="" if is_bare else "/customers",
                strict=manner.strict,
                atomic=atomic,
                dry_run=dry_run,
            ),
            sent=sent if is_bare else {"customers": sent},
            query="&".join(["atomic=true"] * atomic + ["dry_run=true"] * dry_run),
            manner=manner,
        )

    @rule(at=_spaces, which=_which, is_other=strategies.booleans())
    def send_again(self, at: int, which: int, is_other: bool) -> None:
        workspace = self.workspaces[at]
        if workspace.kept:
            (method, path, key), kept = list(workspace.kept.items())[which % len(workspace.kept)]
            query, content = kept.payload
            if is_other:
                query = f"{query}&other=1"
            answer = self._call(
                workspace, method, f"{path}?{query}", content=content, **{"Idempotency-Key": key}
            )
            assert_kept(answer, kept, is_other=is_other)
            self._compare(workspace)

    @rule(at=_spaces, which=_which, behind=strategies.integers(0, 1))
    def get(self, at: int, which: int, behind: int) -> None:
        customer = self._pick(at, which)
        if customer is None:
            return
        workspace = self.workspaces[at]
        paths = [f"/customers/{customer.id}"]
        external_id = customer.fields["external_id"]
        if external_id and workspace.space.holder(external_id) in (customer, None):
            paths.append(f"/customers/external/{quote(external_id, safe='')}")
        for path in paths:
            answer = self._call(
                workspace, "GET", path, **{"X-Consistency-Token": workspace.token or ""}
            )
            if customer.is_deleted:
                assert answer.status_code == 404
                continue
            assert answer.json()["data"] == customer.document
            assert answer.headers["ETag"] == f'"{customer.version}"'
            known = {"If-None-Match": f'"{customer.version - behind}"'}
            assert self._call(workspace, "GET", path, **known).status_code == (
                200 if behind else 304
            )

    @rule(at=_spaces, which=_which, sent=sent_fields)
    def look_elsewhere(self, at: int, which: int, sent: Json) -> None:
        customer = self._pick(at, which)
        if customer is None:
            return
        path = f"/customers/{customer.id}"
        for other in (
            workspace for workspace in self.workspaces if workspace is not self.workspaces[at]
        ):
            for method, tail, body in (
                ("GET", "", None),
                ("PUT", "", json.dumps(sent).encode()),
                ("DELETE", "", None),
                ("POST", "/restore", None),
            ):
                assert self._call(other, method, path + tail, content=body).status_code == 404
            token = {"X-Consistency-Token": self.workspaces[at].token or "none"}
            assert self._call(other, "GET", "/customers", **token).status_code == 400

    @rule(
        at=_spaces,
        query=queries,
        per_page=_pages,
        which=_which,
        after=strategies.sampled_from([None, None, "created", "updated"]),
    )
    def list_pages(
        self, at: int, query: Query, per_page: int, which: int, after: str | None
    ) -> None:
        customer = self._pick(at, which)
        if after and customer and not customer.is_deleted:
            query = replace(query, **{f"{after}_after": customer.document[f"{after}_at"]})
        found = find(self.workspaces[at].space, query)
        pages = -(-len(found) // per_page)
        for page in range(1, pages + 2):
            answer = self._list(at, query, page=str(page), per_page=str(per_page))
            assert_same(answer["data"], found[(page - 1) * per_page : page * per_page])
            cursor = answer["meta"].pop("next_cursor")
            assert (cursor is not None) == (page < pages)
            answer["meta"].pop("request_id")
            assert answer["meta"] == {
                "page": page,
                "per_page": per_page,
                "total": len(found),
                "total_pages": pages,
                "has_next": page < pages,
                "has_prev": page > 1 and pages > 0,
            }

    @rule(at=_spaces, limit=_pages)
    def follow(self, at: int, limit: int) -> None:
        workspace = self.workspaces[at]
        followed: list[Json] = []
        after, has_more = "", True
        while has_more:
            path = f"/events?limit={limit}{after}"
            answer = self._call(workspace, "GET", path).json()
            followed += answer["data"]
            has_more = answer["meta"]["has_more"]
            assert not has_more or len(answer["data"]) == limit
            after = f"&after={answer['meta']['next_cursor']}"
        assert followed == workspace.fed

    @rule(at=_spaces, query=queries, per_page=_pages, which=_which)
    def walk(self, at: int, query: Query, per_page: int, which: int) -> None:
        expected = [customer.id for customer in find(self.workspaces[at].space, query)]
        answer = self._list(at, query, per_page=str(per_page))
        walked = [customer["id"] for customer in answer["data"]]
        if "updated_at" not in (query.sort or ""):
            # What is no sort key may change on the way.
            self.update(at, which, {"custom_fields": {"walked": len(walked)}}, Manner(), "PATCH")
        while cursor := answer["meta"]["next_cursor"]:
            answer = self._list(at, query, per_page=str(per_page), cursor=cursor)
            walked += [customer["id"] for customer in answer["data"]]
            assert (answer["meta"]["page"], answer["meta"]["has_prev"]) == (None, True)
            assert answer["meta"]["total"] == len(expected)
        assert walked == expected

    def _pick(self, at: int, which: int) -> Customer | None:
        customers = self.workspaces[at].space.customers
        return customers[which % len(customers)] if customers else None

    def _call(
        self, workspace: Workspace, method: str, path: str, *, content: Any = None, **headers: str
    ) -> httpx.Response:
        given = {name: text for name, text in headers.items() if text}
        if content is not None:
            given["Content-Type"] = "application/json"
        # Who reads has another key than who wrote.
        given["X-Api-Key"] = workspace.reading if method == "GET" else workspace.writing
        answer = self.dev.api.request(method, path, content=content, headers=given)
        assert answer.status_code < 500, answer.text
        return answer

    def _list(self, at: int, query: Query, **parameters: str) -> Json:
        answer = self.dev.api.get(
            "/customers",
            params=query.parameters | parameters,
            headers={"X-Api-Key": self.workspaces[at].reading},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _write(
        self,
        workspace: Workspace,
        method: str,
        path: str,
        decide: Callable[[Space], Outcome],
        *,
        sent: Any = None,
        query: str = "",
        manner: Manner,
        condition: Condition | None = None,
    ) -> None:
        content = None if sent is None else json.dumps(sent).encode()
        headers = manner.headers | (condition.headers if condition else {})
        answer = self._call(workspace, method, f"{path}?{query}", content=content, **headers)
        place = (method, path, manner.key or "")
        if place in workspace.kept:
            kept = workspace.kept[place]
            assert_kept(answer, kept, is_other=kept.payload != (query, content))
        else:
            try:
                outcome = decide(workspace.space)
            except Refusal as refusal:
                assert_refused(answer, refusal)
            else:
                is_dry = "dry_run" in query
                assert_done(answer, outcome, is_dry=is_dry)
                is_warned = has_unknown(sent) and not manner.strict
                assert ("warnings" in answer.json()["meta"]) == is_warned
                workspace.token = answer.headers.get("X-Consistency-Token", workspace.token)
                if manner.key and not is_dry:
                    workspace.kept[place] = Kept((query, content), answer)
        self._compare(workspace)

    def teardown(self) -> None:
        # What went to the wrong workspace is still there in the end.
        for workspace in self.workspaces:
            self._compare(workspace)

    def _compare(self, workspace: Workspace) -> None:
        """A space shows what the model says, and its log holds exactly the model's events."""
        answer = self._call(workspace, "GET", "/customers?per_page=100").json()
        by_id = {customer.id: customer for customer in workspace.space.live}
        assert set(by_id) == {shown["id"] for shown in answer["data"]}
        for shown in reversed(answer["data"]):
            by_id[shown["id"]].learn(shown)
        assert_same(answer["data"], find(workspace.space, Query()))
        assert answer["meta"]["total"] == len(by_id)
        assert "stale" not in answer["meta"]
        self._compare_tags(workspace)
        self._compare_log(workspace)
        self._compare_feed(workspace)

    def _compare_tags(self, workspace: Workspace) -> None:
        shown = self._call(workspace, "GET", "/customers/tags?per_page=100").json()["data"]
        counts = count_tags(workspace.space)
        assert [tag["count"] for tag in shown] == sorted(
            (spellings.total() for spellings in counts.values()), reverse=True
        )
        for tag in shown:
            spellings = counts[tag["tag"].casefold()]
            assert tag["count"] == spellings.total()
            assert spellings[tag["tag"]] == max(spellings.values())

    def _compare_log(self, workspace: Workspace) -> None:
        logged = self.database.execute(
            "SELECT type, stream_id::text, stream_version, workspace_sequence FROM log.events"
            " WHERE workspace_id = %s ORDER BY workspace_sequence",
            [workspace.name],
        ).fetchall()
        assert logged == [
            (event_type, workspace.space.customers[handle].id, version, number)
            for number, (event_type, handle, version) in enumerate(workspace.space.events, 1)
        ]

    def _compare_feed(self, workspace: Workspace) -> None:
        """What the feed shows behind what it had shown is what has happened since, in order."""
        after = f"?after={workspace.cursor}" if workspace.cursor else ""
        answer = self._call(workspace, "GET", f"/events{after}").json()
        workspace.fed += answer["data"]
        workspace.cursor = answer["meta"]["next_cursor"]
        assert answer["meta"]["has_more"] is False
        customers = workspace.space.customers
        shown = [
            (event["type"], event["subject"], event["streamversion"], int(event["sequence"]))
            for event in workspace.fed
        ]
        assert shown == [
            (event_type, customers[handle].id, version, number)
            for number, (event_type, handle, version) in enumerate(workspace.space.events, 1)
        ]
        newest = {event["subject"]: event["data"]["customer"] for event in workspace.fed}
        assert newest == {customer.id: customer.fields for customer in customers}


@pytest.fixture
def dev() -> Generator[Dev]:
    """The processes of this run, without a limit on how fast a key may call."""
    with (
        a_place() as place,
        running_dev(place, "--ephemeral", CUSTOMERS_RATE_LIMIT="0", **PATIENT) as dev,
    ):
        yield dev


def test_no_answer_to_random_calls_differs_from_the_model(dev: Dev) -> None:
    with psycopg.connect(dev.said["database_url"], autocommit=True) as database:
        Customers.dev, Customers.database = dev, database
        run_state_machine_as_test(
            Customers,
            settings=settings(
                max_examples=EXAMPLES or 30,
                stateful_step_count=CALLS,
                derandomize=not EXAMPLES,
                database=None,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
