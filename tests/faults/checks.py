"""The invariants, checked from the outside on what was gathered: each names what breaks it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from tests.faults.evidence import Evidence
from tests.faults.faults import OWN_MARKER
from tests.faults.history import Violation, Write
from tests.support.model import resulting

Look: TypeAlias = Callable[[Evidence], Iterator[tuple[str, ...]]]

_EXTRA: Final = ("id", "created_at", "updated_at", "version")
_TYPES: Final = {
    "create": "CustomerCreated",
    "delete": "CustomerDeleted",
    "restore": "CustomerRestored",
    "update": "CustomerUpdated",
}


def check(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold."""
    return [
        Violation(check=name, words=words, about=tuple(about))
        for name, look in CHECKS.items()
        for words, *about in _seen(look, evidence)
    ]


def _seen(look: Look, evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """What a check says; one that comes upon what cannot be takes the others nothing away."""
    try:
        yield from look(evidence)
    except Exception as error:  # noqa: BLE001 - whatever it is, something is wrong there
        yield (f"what there is cannot be judged: {type(error).__name__}: {error}",)


def _dense(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Positions, workspace sequences and versions are 1..n, and time never goes back."""
    sequences: Counter[str] = Counter()
    versions: Counter[str] = Counter()
    before = 0.0
    for wanted, row in enumerate(evidence.log, 1):
        if row.position != wanted:
            yield f"position {wanted} is not in the log; {row.position} follows", row.customer
            return
        sequences[row.workspace] += 1
        if row.sequence != sequences[row.workspace]:
            words = f"event {row.position} is {row.sequence} of {row.workspace}"
            yield f"{words} instead of {sequences[row.workspace]}", row.customer
        versions[row.customer] += 1
        if row.version != versions[row.customer]:
            words = f"event {row.position} is version {row.version} of {row.customer}"
            yield f"{words} instead of {versions[row.customer]}", row.customer
        if row.recorded_at < before:
            yield f"event {row.position} was recorded before {row.position - 1}", row.customer
        before = row.recorded_at


def _acknowledged(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Each answered write is in the log once, with what was answered."""
    made = _by_marker(evidence)
    readable = {
        (event["subject"], event["streamversion"])
        for feed in evidence.feeds.values()
        for event in feed
        if event["data"] is not None
    }
    logged = {(row.customer, row.version) for row in evidence.log}
    for write in evidence.writes:
        wanted = list(_expected(write))
        for customer, version, _, _ in wanted:
            if (customer, version) not in logged:
                words = f"{write.kind} {write.marker} was answered with version {version}"
                yield f"{words} of {customer}, which the log does not have", write.marker, customer
        found = made.get((write.workspace, write.marker), [])
        still = [one for one in wanted if (one[0], one[1]) in readable]
        seen = Counter((event["subject"], event["streamversion"]) for event in found)
        if write.kind != "erase" and seen != Counter((one[0], one[1]) for one in still):
            yield from _otherwise(write, Counter((one[0], one[1]) for one in still), seen)
            continue
        yield from _same_content(write, still, found)


def _otherwise(
    write: Write, promised: Counter[tuple[str, int]], made: Counter[tuple[str, int]]
) -> Iterator[tuple[str, ...]]:
    told = f"{write.kind} {write.marker} (sent {write.attempts} times)"
    for customer, version in promised - made:
        words = f"{told} was answered with version {version} of {customer}, which is not its own"
        yield f"{words}: it was never written, or is lost", write.marker, customer
    for customer, version in made - promised:
        words = f"{told} made version {version} of {customer}, which it was not answered with"
        yield words, write.marker, customer


def _same_content(
    write: Write, wanted: list[tuple[str, int, str | None, Any]], found: list[Any]
) -> Iterator[tuple[str, ...]]:
    by_place = {(event["subject"], event["streamversion"]): event for event in found}
    for customer, version, type_, fields in wanted:
        event = by_place.get((customer, version))
        if event is None:
            continue
        if type_ is not None and event["type"] != type_:
            yield f"{write.marker} made a {event['type']}", write.marker, customer
        if fields is not None and event["data"]["customer"] != fields:
            words = f"{write.marker} was answered with {fields}, and the log has"
            yield f"{words} {event['data']['customer']}", write.marker, customer


def _expected(write: Write) -> Iterator[tuple[str, int, str | None, Any]]:
    """Customer, version, type and fields of the events that an answer promised."""
    if not write.succeeded:
        return
    if write.kind == "bulk":
        for row in write.data["results"]:
            if row["status"] != "unchanged":
                type_ = "CustomerCreated" if row["status"] == "created" else "CustomerUpdated"
                yield row["id"], row["version"], type_, None
    elif write.kind == "erase":
        # Its receipt names no version; that it is the last event is checked by itself.
        return
    else:
        assert write.version is not None
        document = write.data if write.kind != "delete" else None
        fields = document and {
            name: value for name, value in document.items() if name not in _EXTRA
        }
        yield write.data["id"], write.version, _TYPES.get(write.kind), fields


def _decided(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Each event is what its request makes of the customer as it was: nobody's change is lost."""
    asked = {(write.workspace, write.marker): write for write in evidence.writes}
    for workspace, feed in evidence.feeds.items():
        before: dict[str, Any] = {}
        for event in feed:
            customer, data = event["subject"], event["data"]
            if data is None or event["type"] == "CustomerErased":
                continue
            write = asked.get((workspace, data["request_id"]))
            known = before.get(customer)
            before[customer] = data["customer"]
            if data["request_id"].startswith(OWN_MARKER):
                continue
            sent = None if write is None else _sent(write, data["customer"]["external_id"])
            wanted = known if sent is None else resulting(known, sent, strict=False)
            if data["customer"] != wanted:
                words = f"event {event['sequence']} of {workspace} is {data['customer']}, and"
                yield f"{words} {sent} makes {wanted} of {known}", customer, data["request_id"]


def _sent(write: Write, external_id: str | None) -> dict[str, Any] | None:
    """The fields that a request sent for a customer; None when it sent none."""
    if write.kind == "bulk":
        rows = write.body["customers"]
        return next((row for row in rows if row["external_id"] == external_id), None)
    if write.kind == "external":
        return write.body | {"external_id": write.path.rpartition("/")[2]}
    return write.body


def _explained(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Each event was asked for by one request that was answered with success."""
    asked = {(write.workspace, write.marker): write for write in evidence.writes}
    for (workspace, marker), events in _by_marker(evidence).items():
        if marker.startswith(OWN_MARKER):
            continue
        write = asked.get((workspace, marker))
        if write is None:
            yield f"nobody in {workspace} sent {marker}, and it made {len(events)} events", marker
        elif not write.succeeded:
            words = f"{marker} was answered with {write.status}, and made {len(events)} events"
            yield words, marker


def _by_marker(evidence: Evidence) -> dict[tuple[str, str], list[Any]]:
    """The events of each request, as far as they can be read."""
    made: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for workspace, feed in evidence.feeds.items():
        for event in feed:
            if event["data"] is not None and event["type"] != "CustomerErased":
                made[workspace, event["data"]["request_id"]].append(event)
    return made


def _feed_is_log(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """The feed of each workspace is its part of the log."""
    for workspace, feed in evidence.feeds.items():
        rows = [row for row in evidence.log if row.workspace == workspace]
        logged = [(row.event_id, row.sequence, row.type, row.customer, row.version) for row in rows]
        fed = [
            (one["id"], int(one["sequence"]), one["type"], one["subject"], one["streamversion"])
            for one in feed
        ]
        if logged != fed:
            wrong = next(
                (pair for pair in zip(logged, fed, strict=False) if pair[0] != pair[1]),
                (len(logged), len(fed)),
            )
            yield f"the feed of {workspace} is not its log: {wrong}", str(wrong[0])


def _stream_is_log(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """JetStream message p is log event p, or a hole that an erasure accounts for."""
    if evidence.last_sequence != len(evidence.log):
        words = f"the stream ends at {evidence.last_sequence}, the log at {len(evidence.log)}"
        yield (words,)
    bodies = {event["id"]: event for feed in evidence.feeds.values() for event in feed}
    erased = erased_positions(evidence)
    messages = {message.sequence: message for message in evidence.messages}
    for row in evidence.log:
        message = messages.pop(row.position, None)
        if message is None:
            if row.position not in erased:
                words = f"message {row.position} is not in the stream"
                yield f"{words}, and no erasure accounts for that", row.customer
            continue
        named = (message.position, message.digest, message.chain)
        if named != (row.position, row.digest, row.chain):
            yield f"message {row.position} has the headers {named}", row.customer
        fed = bodies.get(row.event_id)
        if row.position not in erased and message.body != fed:
            words = f"message {row.position} is {message.body}, and the log has {fed}"
            yield words, row.customer, row.event_id
    for sequence in messages:
        yield (f"message {sequence} is in the stream, and nothing in the log",)


def _read_model_is_fold(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """What the lists show is what the events lead to."""
    for workspace, feed in evidence.feeds.items():
        folded = fold(feed)
        shown = evidence.customers[workspace]
        for customer in folded.keys() | shown.keys():
            if folded.get(customer) != shown.get(customer):
                words = f"{workspace} shows {shown.get(customer)}, and its events lead to"
                yield f"{words} {folded.get(customer)}", customer
        counts = Counter(tag.casefold() for document in folded.values() for tag in document["tags"])
        if dict(counts) != evidence.tags[workspace]:
            yield (f"{workspace} counts its tags as {evidence.tags[workspace]}, not {counts}",)


def fold(feed: list[Any]) -> dict[str, Any]:
    """The live customers that events lead to, by id, as the service answers them."""
    created: dict[str, str] = {}
    found: dict[str, Any] = {}
    for event in feed:
        customer = event["subject"]
        created.setdefault(customer, event["time"])
        if event["type"] in {"CustomerDeleted", "CustomerErased"} or event["data"] is None:
            found.pop(customer, None)
            continue
        times = {"created_at": created[customer], "updated_at": event["time"]}
        document = event["data"]["customer"] | times
        found[customer] = {"id": customer} | document | {"version": event["streamversion"]}
    return found


def _apart(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """A workspace sees only itself."""
    owner: dict[str, str] = {row.customer: row.workspace for row in evidence.log}
    for workspace, feed in evidence.feeds.items():
        for event in feed:
            if event["workspace"] != workspace or owner.get(event["subject"]) != workspace:
                yield f"{workspace} is fed an event of {event['workspace']}", event["id"]
        for customer in evidence.customers[workspace]:
            if owner.get(customer) != workspace:
                words = f"{workspace} sees {customer}, which belongs to {owner.get(customer)}"
                yield words, customer


def _erased(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Of an erased customer nothing can be read, and nothing comes after."""
    asked = {write.path.split("/")[2] for write in evidence.writes if write.kind == "erase"}
    last = {row.customer: row for row in evidence.log}
    for write in evidence.writes:
        customer = write.path.split("/")[2] if write.kind == "erase" else ""
        if customer and write.succeeded and last[customer].type != "CustomerErased":
            yield f"{customer} was erased, and its last event is {last[customer].type}", customer
    places = {f"in the feed of {name}": feed for name, feed in evidence.feeds.items()}
    places["in JetStream"] = [message.body for message in evidence.messages if message.body]
    for place, events in places.items():
        for event in events:
            customer = event["subject"]
            is_gone = last[customer].type == "CustomerErased"
            if is_gone and event["type"] != "CustomerErased" and event["data"] is not None:
                words = f"{customer} was erased, and event {event['id']}, a {event['type']},"
                yield f"{words} can be read {place}", customer
    for row in evidence.log:
        if row.type == "CustomerErased" and row.customer not in asked:
            yield f"nobody erased {row.customer}", row.customer


def erased_positions(evidence: Evidence) -> set[int]:
    """Where a message may be missing, for its customer was erased."""
    erased = {row.customer for row in evidence.log if row.type == "CustomerErased"}
    return {
        row.position
        for row in evidence.log
        if row.customer in erased and row.type != "CustomerErased"
    }


def _commands(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """`verify`, `rebuild --verify`, `doctor` and `status` say that all is well."""
    for outcome in evidence.outcomes:
        if outcome.code != 0:
            yield (f"customers {outcome.words} ended with {outcome.code}: {outcome.out.strip()}",)


CHECKS: Final[dict[str, Look]] = {
    "dense": _dense,
    "acknowledged": _acknowledged,
    "explained": _explained,
    "decided": _decided,
    "feed is log": _feed_is_log,
    "stream is log": _stream_is_log,
    "read model is fold": _read_model_is_fold,
    "workspaces apart": _apart,
    "erased": _erased,
    "commands": _commands,
}
"""Each yields what is wrong, and ids that the history tells of."""
