"""Each check can fail: what is forged in the evidence of a good run is named by its check."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest
from msgspec.structs import replace

from tests.faults.checks import CHECKS, check
from tests.faults.evidence import Evidence, LogRow, Outcome, StreamMessage
from tests.faults.history import Write
from tests.support.model import NOBODY

JANE, JOE, GONE, OTHER = (f"00000000-0000-7000-8000-00000000000{n}" for n in range(1, 5))
TYPES: Final = {
    "create": "CustomerCreated",
    "update": "CustomerUpdated",
    "delete": "CustomerDeleted",
}


class Forge:
    """Evidence of a run in which all went well, written down event by event."""

    def __init__(self) -> None:
        self.rows: list[LogRow] = []
        self.feeds: dict[str, list[Any]] = {"acme": [], "globex": []}
        self.writes: list[Write] = []
        self._fields: dict[str, dict[str, Any]] = {}

    def event(self, workspace: str, customer: str, type_: str, marker: str, **sent: Any) -> Any:
        """The next event of a workspace."""
        feed = self.feeds[workspace]
        position, sequence = len(self.rows) + 1, len(feed) + 1
        version = sum(row.customer == customer for row in self.rows) + 1
        self._fields[customer] = self._fields.get(customer, NOBODY) | sent
        digest, chain = f"digest {position}", f"chain {position}"
        row = LogRow(
            position,
            workspace,
            sequence,
            customer,
            version,
            f"event {position}",
            type_,
            float(position),
            digest,
            chain,
        )
        self.rows.append(row)
        data = {"customer": self._fields[customer], "request_id": marker}
        event = {
            "id": row.event_id,
            "type": type_,
            "subject": customer,
            "time": f"2026-01-01T00:00:{position:02}Z",
            "sequence": f"{sequence:020}",
            "streamversion": version,
            "workspace": workspace,
            "data": {} if type_ == "CustomerErased" else data,
        }
        feed.append(event)
        return event

    def write(self, workspace: str, customer: str, kind: str, **sent: Any) -> None:
        """A write that was answered, and its event."""
        marker = f"m{len(self.writes) + 1}"
        event = self.event(workspace, customer, TYPES[kind], marker, **sent)
        data = {"id": customer} | self._fields[customer]
        path = f"/customers/{customer}" if kind != "create" else "/customers"
        self._answered(marker, workspace, kind, path, sent or None, data, event["streamversion"])

    def bulk(self, workspace: str, customer: str, external_id: str, **sent: Any) -> None:
        """A bulk call with one row."""
        marker = f"m{len(self.writes) + 1}"
        row = {"external_id": external_id} | sent
        event = self.event(workspace, customer, "CustomerCreated", marker, **row)
        result = {"id": customer, "status": "created", "version": event["streamversion"]}
        body, data = {"customers": [row]}, {"results": [result]}
        self._answered(marker, workspace, "bulk", "/customers/bulk", body, data, None)

    def erase(self, workspace: str, customer: str) -> None:
        """An erasure, after which nothing of the customer can be read."""
        self.event(workspace, customer, "CustomerErased", "")
        for event in self.feeds[workspace]:
            if event["subject"] == customer and event["type"] != "CustomerErased":
                event["data"] = None
        path = f"/customers/{customer}/personal-data"
        self._answered("erasing", workspace, "erase", path, None, {}, None)

    def _answered(
        self,
        marker: str,
        workspace: str,
        kind: str,
        path: str,
        body: Any,
        data: Any,
        version: int | None,
    ) -> None:
        self.writes.append(
            Write(
                marker=marker,
                workspace=workspace,
                client="a client",
                kind=kind,
                method="POST",
                path=path,
                body=body,
                status=200,
                data=data,
                version=version,
            )
        )

    def evidence(self) -> Evidence:
        """All of it, with the stream and the lists that belong to it."""
        bodies = {event["id"]: event for feed in self.feeds.values() for event in feed}
        messages = [
            StreamMessage(
                sequence=row.position,
                subject="customers",
                position=row.position,
                digest=row.digest,
                chain=row.chain,
                body=deepcopy(bodies[row.event_id]),
            )
            for row in self.rows
            if bodies[row.event_id]["data"] is not None
        ]
        jane = {"id": JANE} | self._fields[JANE] | {"version": 2}
        joe = {"id": JOE} | self._fields[JOE] | {"version": 1}
        jane |= {"created_at": "2026-01-01T00:00:01Z", "updated_at": "2026-01-01T00:00:03Z"}
        joe |= {"created_at": "2026-01-01T00:00:04Z", "updated_at": "2026-01-01T00:00:04Z"}
        return Evidence(
            log=self.rows,
            feeds=self.feeds,
            messages=messages,
            last_sequence=len(self.rows),
            customers={"acme": {JANE: jane, JOE: joe}, "globex": {}},
            tags={"acme": {"vip": 2}, "globex": {}},
            writes=self.writes,
            outcomes=[Outcome(words="verify", code=0, out="")],
        )


def good() -> Evidence:
    """A run in which all went well."""
    forge = Forge()
    forge.write("acme", JANE, "create", email="jane@example.com", tags=["vip"])
    forge.write("globex", OTHER, "create", email="other@example.com")
    forge.write("acme", JANE, "update", last_name="Doe")
    forge.bulk("acme", JOE, "joe", email="joe@example.com", tags=["VIP"])
    forge.write("globex", OTHER, "delete")
    forge.write("acme", GONE, "create", email="gone@example.com")
    forge.erase("acme", GONE)
    return deepcopy(forge.evidence())


def drop_event(run: Evidence) -> None:
    """A position is gone from the log."""
    del run.log[2]


def swap_versions(run: Evidence) -> None:
    """A version comes before the one before it."""
    run.log[2] = replace(run.log[2], version=3)


def go_back_in_time(run: Evidence) -> None:
    """An event is recorded before the one before it."""
    run.log[2] = replace(run.log[2], recorded_at=0.5)


def skip_sequence(run: Evidence) -> None:
    """A workspace's numbers have a hole."""
    run.log[2] = replace(run.log[2], sequence=9)


def lose_acknowledged(run: Evidence) -> None:
    """The last event of Jane is nowhere, and nothing shows that it ever was."""
    run.writes[2].version = 3


def answer_otherwise(run: Evidence) -> None:
    """A client was answered something else than what was written."""
    run.writes[2].data["last_name"] = "Smith"


def do_twice(run: Evidence) -> None:
    """A retry made a second event."""
    run.feeds["acme"][1]["data"]["request_id"] = "m1"


def answer_twice(run: Evidence) -> None:
    """Two clients were answered with one version."""
    run.writes.append(replace(run.writes[2], marker="m99"))


def invent(run: Evidence) -> None:
    """An event that nobody asked for."""
    run.feeds["acme"][2]["data"]["request_id"] = "nobody's"


def do_what_was_refused(run: Evidence) -> None:
    """A write that was refused is in the log."""
    run.writes[2].status = 412


def lose_an_update(run: Evidence) -> None:
    """A change overwrites what another had changed."""
    run.feeds["acme"][1]["data"]["customer"]["tags"] = []
    run.writes[2].data["tags"] = []


def lose_a_creation(run: Evidence) -> None:
    """The feed of a customer begins with an update."""
    run.feeds["acme"] = run.feeds["acme"][1:]


def skip_in_feed(run: Evidence) -> None:
    """The feed does not show an event."""
    del run.feeds["globex"][1]


def swap_in_feed(run: Evidence) -> None:
    """The feed shows two events the other way round."""
    run.feeds["globex"].reverse()


def drop_message(run: Evidence) -> None:
    """A message is not in the stream."""
    del run.messages[1]


def drop_last_message(run: Evidence) -> None:
    """The stream ends early."""
    run.messages.pop()
    run.last_sequence = 6


def drop_erasing_message(run: Evidence) -> None:
    """That somebody was erased is not published."""
    run.messages.pop()


def publish_twice(run: Evidence) -> None:
    """A message more."""
    run.messages.append(replace(run.messages[-1], sequence=8))


def change_message(run: Evidence) -> None:
    """A message says something else than the log."""
    run.messages[0].body["data"]["customer"]["last_name"] = "Roe"


def change_header(run: Evidence) -> None:
    """A message has the chain of another history."""
    run.messages[0] = replace(run.messages[0], chain="another")


def lose_customer(run: Evidence) -> None:
    """The list lacks a customer."""
    del run.customers["acme"][JOE]


def keep_deleted(run: Evidence) -> None:
    """The list shows who was deleted."""
    run.customers["globex"][OTHER] = {"id": OTHER}


def show_old(run: Evidence) -> None:
    """The list shows a customer as it was."""
    run.customers["acme"][JANE]["last_name"] = None


def miscount(run: Evidence) -> None:
    """A tag is counted wrongly."""
    run.tags["acme"]["vip"] = 1


def show_to_others(run: Evidence) -> None:
    """A workspace sees a customer of another."""
    run.customers["globex"] |= run.customers["acme"]


def feed_to_others(run: Evidence) -> None:
    """A workspace is fed an event of another."""
    run.feeds["globex"].append(run.feeds["acme"][0])


def remember_erased(run: Evidence) -> None:
    """The feed still tells who was erased."""
    run.feeds["acme"][3]["data"] = {"customer": NOBODY, "request_id": "m6"}


def keep_message_of_erased(run: Evidence) -> None:
    """The stream still tells who was erased."""
    body = run.feeds["acme"][3] | {"data": {"customer": NOBODY}}
    run.messages.insert(5, replace(run.messages[0], sequence=6, body=body))


def not_erase(run: Evidence) -> None:
    """An erasure was answered, and did not happen."""
    run.log[6] = replace(run.log[6], type="CustomerUpdated")


def fail_command(run: Evidence) -> None:
    """An operator's command says that something is wrong."""
    run.outcomes[0] = Outcome(words="verify", code=1, out="position 3")


FORGERIES: Final[list[tuple[str, Callable[[Evidence], None]]]] = [
    ("dense", drop_event),
    ("dense", swap_versions),
    ("dense", go_back_in_time),
    ("dense", skip_sequence),
    ("acknowledged", lose_acknowledged),
    ("acknowledged", answer_otherwise),
    ("acknowledged", do_twice),
    ("acknowledged", answer_twice),
    ("explained", invent),
    ("explained", do_what_was_refused),
    ("decided", lose_an_update),
    ("decided", lose_a_creation),
    ("read model is fold", lose_a_creation),
    ("feed is log", skip_in_feed),
    ("feed is log", swap_in_feed),
    ("stream is log", drop_message),
    ("stream is log", drop_last_message),
    ("stream is log", drop_erasing_message),
    ("stream is log", publish_twice),
    ("stream is log", change_message),
    ("stream is log", change_header),
    ("read model is fold", lose_customer),
    ("read model is fold", keep_deleted),
    ("read model is fold", show_old),
    ("read model is fold", miscount),
    ("workspaces apart", show_to_others),
    ("workspaces apart", feed_to_others),
    ("erased", remember_erased),
    ("erased", keep_message_of_erased),
    ("erased", not_erase),
    ("commands", fail_command),
]


def test_of_a_good_run_nothing_is_said() -> None:
    assert check(good()) == []


@pytest.mark.parametrize(
    ("name", "forge"), FORGERIES, ids=lambda one: getattr(one, "__name__", one)
)
def test_what_is_forged_is_named(name: str, forge: Callable[[Evidence], None]) -> None:
    run = good()

    forge(run)

    assert name in {violation.check for violation in check(run)}


def test_every_check_has_a_forgery_that_it_names() -> None:
    assert {name for name, _ in FORGERIES} == set(CHECKS)
