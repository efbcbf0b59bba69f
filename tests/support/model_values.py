"""What the random calls of the state machine send: few values, so that they often meet."""

from typing import Any

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from msgspec import Struct

from tests.support.model import Condition, Customer, Json
from tests.support.model_reads import Query

FIRST_ROWS: list[Json] = [
    {"external_id": "a", "phone": "+15550001234", "firstName": "Ann", "lastName": "Lee"},
    {"external_id": "a/b", "phone": "+4915112345", "lastName": "van Dyk", "tags": ["VIP"]},
    {"external_id": "ü 1", "phone": "+155500012345", "companyName": "José", "tags": ["vip", "Ünï"]},
]
EXTERNAL_IDS = ["a", "A", "a/b", "ü 1", "100%25"]

_EMAILS = ["ann@example.com", "Ann@Example.com", "bob@sub.test"]
_PHONES = ["+15550001234", "+4915112345", "+155500012345"]
_NAMES = ["Ann", "ÅNN", "José", "jose", "van Dyk", "100%", "a_b", "50\\50", "Ann Lee"]
_TAGS = ["vip", "VIP", " gold ", "Ünï", "two words"]
_VALUES = [1, 1.5, None, "ä", {"b": 1, "a": None}, [1, [2]], True, 10**30]
_WORDS = [
    "ann",
    "AN",
    "jose",
    "dyk",
    "00%",
    "a_b",
    "50\\5",
    "+1555",
    "+15550001234",
    "(555)",
    "12",
    "xam",
    "n",
    "nn",
    "%",
]
_SORTS = ["created_at", "updated_at", "last_name", "company_name", "email"]

_UNKNOWN = {"nickname", "version"}

_one_of = strategies.sampled_from
_channels = strategies.dictionaries(
    _one_of(["sms", "email", "voice"]), _one_of([True, False, None]), max_size=2
)


class Manner(Struct, frozen=True, kw_only=True):
    """How a write is sent: what stands in its headers."""

    key: str | None = None
    strict: bool = False
    wish: str | None = None
    """What the client believes of the customer's version."""

    def condition(self, customer: Customer | None) -> Condition:
        """The wish, for this customer."""
        version = 1 if customer is None else customer.version
        match self.wish:
            case "current":
                return Condition(match=version)
            case "other":
                return Condition(match=version + 1)
            case "any":
                return Condition(match="*")
            case "create":
                return Condition(create_only=True)
            case _:
                return Condition()

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a write, but those of its condition."""
        headers = {"Prefer": "handling=strict"} if self.strict else {}
        return headers | ({"Idempotency-Key": self.key} if self.key else {})


manners: SearchStrategy[Manner] = strategies.builds(
    Manner,
    key=_one_of([None, None, None, "k1", '"k2"']),
    strict=_one_of([False, False, False, True]),
    wish=_one_of([None, None, None, None, "current", "other", "any", "create"]),
)

_good: dict[str, SearchStrategy[Any]] = {
    "email": _one_of([*_EMAILS, *_EMAILS, None, " "]),
    "phone": _one_of([*_PHONES, *_PHONES, None, ""]),
    "firstName": _one_of([*_NAMES, None]),
    "last_name": _one_of([*_NAMES, None]),
    "companyName": _one_of([*_NAMES, None]),
    "external_id": _one_of([*EXTERNAL_IDS, None]),
    "tags": strategies.none() | strategies.lists(_one_of(_TAGS), max_size=3),
    "custom_fields": strategies.none()
    | strategies.dictionaries(_one_of("abc"), _one_of(_VALUES), max_size=3),
    "communication_preferences": strategies.none() | _channels,
}
_bad: dict[str, SearchStrategy[Any]] = {
    "email": _one_of(["nobody", 3]),
    "phone": _one_of(["0151", "+1 555 0001234", 15550001234]),
    "lastName": _one_of([3, ["x"], "\x00"]),
    "external_id": _one_of([7, "", "x" * 256]),
    "tags": _one_of([["a,b"], [" "], "vip", [1]]),
    "custom_fields": _one_of([[], "x", 1]),
    "communication_preferences": _one_of([{"fax": True}, {"sms": "true"}, []]),
    **{name: strategies.just(9) for name in sorted(_UNKNOWN)},
}


def has_unknown(sent: Any) -> bool:
    """Whether something in a body is no field that a client may set."""
    if isinstance(sent, list):
        return any(map(has_unknown, sent))
    if isinstance(sent, dict):
        return not _UNKNOWN.isdisjoint(sent) or has_unknown(sent.get("customers"))
    return False


def _some(values: dict[str, SearchStrategy[Any]], *, most: int) -> SearchStrategy[Json]:
    return strategies.lists(_one_of(sorted(values)), unique=True, max_size=most).flatmap(
        lambda names: strategies.fixed_dictionaries({name: values[name] for name in names})
    )


def _joined(first: Json, second: Json) -> Json:
    return first | second


def _with_contact(sent: Json) -> Json:
    if (sent.get("email") or "").strip() or (sent.get("phone") or "").strip():
        return sent
    return sent | {"email": _EMAILS[0]}


_reachable = _some(_good, most=9).map(_with_contact)
sent_fields: SearchStrategy[Json] = strategies.one_of(
    _reachable,
    _reachable,
    _reachable,
    _some(_good, most=6),
    strategies.builds(_joined, _reachable, _some(_bad, most=3)),
)

_named_row = strategies.builds(
    _joined, sent_fields, strategies.builds(dict, external_id=_one_of(EXTERNAL_IDS))
)
_row: SearchStrategy[Any] = strategies.one_of(
    _named_row,
    _named_row,
    strategies.builds(
        _joined,
        _some(_good, most=3),
        strategies.builds(
            dict,
            email=_one_of(_EMAILS),
            external_id=_one_of(EXTERNAL_IDS),
            if_version=strategies.integers(1, 4),
        ),
    ),
    sent_fields,
    _one_of([None, 3, "x", []]),
)
rows: SearchStrategy[list[Any]] = strategies.lists(_row, min_size=1, max_size=5)

_keys = strategies.lists(_one_of(_SORTS), unique=True, min_size=1, max_size=2).flatmap(
    lambda names: strategies.tuples(*(_one_of([name, f"-{name}"]) for name in names))
)
_tag_groups = strategies.lists(_one_of(["vip", "Gold,ünï", "TWO words", "none"]), max_size=2)

_searches = strategies.lists(_one_of(_WORDS), min_size=1, max_size=2).map(" ".join)
_criteria: dict[str, SearchStrategy[Any]] = {
    "tags": _tag_groups.map(tuple),
    "tags_none": _one_of(["vip", "gold,ünï"]),
    "search": _searches,
    "email": _one_of(_EMAILS),
    "phone": _one_of(_PHONES),
    "external_id": _one_of(EXTERNAL_IDS),
}


def _query(criteria: Json, sort: str | None) -> Query:
    return Query(**criteria, sort=sort)


# Few criteria at once: most lists are then long enough to have an order.
queries: SearchStrategy[Query] = strategies.one_of(
    strategies.builds(Query, search=_searches),
    strategies.builds(_query, _some(_criteria, most=2), strategies.none() | _keys.map(",".join)),
)
