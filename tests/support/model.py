"""The contract's rules a second time, over plain dicts: what every call must lead to.

It shares no code with the service, on purpose: where the two differ, one of them is wrong.
"""

import copy
import json
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

NOBODY: Json = {
    "email": None,
    "phone": None,
    "first_name": None,
    "last_name": None,
    "company_name": None,
    "external_id": None,
    "tags": [],
    "custom_fields": {},
    "communication_preferences": {},
}
MEMBERS = ["id", *NOBODY, "created_at", "updated_at", "version"]
_SPELLINGS = {"firstName": "first_name", "lastName": "last_name", "companyName": "company_name"}
_CHANNELS = {"sms", "email", "voice", "do_not_disturb"}


class Refusal(Exception):
    """A call that changes nothing: its status, and the pointers of its field errors."""

    def __init__(
        self,
        status: int,
        *pointers: str,
        version: int | None = None,
        existing_id: str | None = None,
    ) -> None:
        super().__init__(status, *pointers)
        self.status = status
        self.pointers = set(pointers)
        self.version = version
        self.existing_id = existing_id


@dataclass
class Customer:
    """A customer, live or deleted; id and times are learned from the service's answers."""

    handle: int
    fields: Json
    version: int = 1
    is_deleted: bool = False
    id: str = ""
    times: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def document(self) -> Json:
        """What every answer must show of it."""
        times = {"created_at": self.times[1], "updated_at": self.times[self.version]}
        return {"id": self.id} | self.fields | times | {"version": self.version}

    def learn(self, document: Json) -> None:
        """Take over what only the service can know, once; it may never say otherwise."""
        self.id = self.id or document["id"]
        self.times.setdefault(1, document["created_at"])
        self.times.setdefault(self.version, document["updated_at"])
        assert list(self.times.values()) == sorted(self.times.values())


@dataclass(frozen=True)
class Condition:
    """`If-Match` as versions, or `*`; `create_only` is `If-None-Match: *`."""

    match: int | str | None = None
    create_only: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """As it is sent."""
        tag = self.match if self.match in {None, "*"} else f'"{self.match}"'
        return {"If-Match": str(tag)} if tag else {"If-None-Match": "*"} if self.create_only else {}

    def check(self, version: int | None) -> None:
        """Raise the refusal of a write to something of this version; None: there is nothing."""
        is_missed = version is None or self.match not in {"*", version}
        if (self.match is not None and is_missed) or (self.create_only and version is not None):
            raise Refusal(412, version=version)


ALWAYS = Condition()


@dataclass
class RowDone:
    """What became of a row of a bulk call; `pointers` when it failed."""

    external_id: str | None
    status: str
    customer: Customer | None = None
    version: int | None = None
    pointers: set[str] = field(default_factory=set[str])


class Space:
    """The data of one workspace, or of its sandbox."""

    def __init__(self) -> None:
        self.customers: list[Customer] = []
        self.events: list[tuple[str, int, int]] = []
        """Type, customer and version of everything that ever happened, in order."""

    @property
    def live(self) -> list[Customer]:
        """The customers that reads show."""
        return [customer for customer in self.customers if not customer.is_deleted]

    def holder(self, external_id: str | None) -> Customer | None:
        """The live customer that has this external_id."""
        holders = [one for one in self.live if one.fields["external_id"] == external_id]
        return holders[0] if external_id is not None and holders else None

    def create(self, sent: Json, *, strict: bool = False) -> Customer:
        """`POST /customers`."""
        fields = resulting(None, sent, strict=strict)
        self._check_free(fields["external_id"])
        return self._add(fields)

    def update(
        self, customer: Customer, sent: Json, *, strict: bool = False, condition: Condition = ALWAYS
    ) -> Customer:
        """`PUT` and `PATCH /customers/{id}`."""
        self._find(customer)
        fields = resulting(customer.fields, sent, strict=strict)
        condition.check(customer.version)
        self._check_free(fields["external_id"], customer)
        return self._change(customer, fields)

    def delete(self, customer: Customer, *, condition: Condition = ALWAYS) -> Customer:
        """`DELETE /customers/{id}`."""
        self._find(customer)
        condition.check(customer.version)
        customer.is_deleted = True
        return self._happened("CustomerDeleted", customer)

    def restore(self, customer: Customer, *, condition: Condition = ALWAYS) -> Customer:
        """`POST /customers/{id}/restore`."""
        condition.check(customer.version)
        if not customer.is_deleted:
            return customer
        self._check_free(customer.fields["external_id"])
        customer.is_deleted = False
        return self._happened("CustomerRestored", customer)

    def put_external(
        self, external_id: str, sent: Json, *, strict: bool = False, condition: Condition = ALWAYS
    ) -> Customer:
        """`PUT /customers/external/{external_id}`."""
        known = self.holder(external_id)
        wrong = sent.get("external_id", external_id) != external_id
        others = {name: value for name, value in sent.items() if name != "external_id"}
        named = others | {"external_id": external_id}
        try:
            fields = resulting(known.fields if known else None, named, strict=strict)
        except Refusal as refusal:
            pointers = refusal.pointers | ({"/external_id"} if wrong else set())
            raise Refusal(400, *pointers) from None
        if wrong:
            raise Refusal(400, "/external_id")
        condition.check(known.version if known else None)
        return self._change(known, fields) if known else self._add(fields)

    def bulk(
        self, rows: list[Any], *, pointer: str, strict: bool, atomic: bool, dry_run: bool
    ) -> list[RowDone]:
        """`POST /customers/bulk`."""
        trial = copy.deepcopy(self)
        done = [
            trial._row(row, f"{pointer}/{index}", strict=strict) for index, row in enumerate(rows)
        ]
        failed = [row for row in done if row.status == "failed"]
        if atomic and failed:
            raise Refusal(400, *set[str]().union(*(row.pointers for row in failed)))
        if not dry_run:
            self.customers, self.events = trial.customers, trial.events
        return done

    def _row(self, row: Any, pointer: str, *, strict: bool) -> RowDone:
        if not isinstance(row, dict):
            return RowDone(None, "failed", pointers={pointer})
        sent: Json = {name: value for name, value in row.items() if name != "if_version"}
        external_id = sent.get("external_id")
        is_named = external_id is not None and _is_sound("external_id", external_id)
        known = self.holder(external_id) if is_named else None
        try:
            fields = resulting(known.fields if known else None, sent, strict=strict)
            wrong = set[str]()
        except Refusal as refusal:
            fields, wrong = {}, refusal.pointers
        if not is_named:
            wrong.add("/external_id")
        wanted = row.get("if_version")
        if not wrong and wanted is not None and (not known or known.version != wanted):
            wrong = {"/if_version"}
        if wrong:
            pointers = {pointer + one for one in wrong}
            return RowDone(external_id if is_named else None, "failed", pointers=pointers)
        before = len(self.events)
        customer = self._change(known, fields) if known else self._add(fields)
        status = "created" if not known else "updated" if len(self.events) > before else "unchanged"
        return RowDone(external_id, status, customer, customer.version)

    def _check_free(self, external_id: str | None, taker: Customer | None = None) -> None:
        holder = self.holder(external_id)
        if holder is not None and holder is not taker:
            raise Refusal(409, "/external_id", existing_id=holder.id)

    def _find(self, customer: Customer) -> None:
        if customer.is_deleted:
            raise Refusal(404)

    def _add(self, fields: Json) -> Customer:
        customer = Customer(len(self.customers), fields)
        self.customers.append(customer)
        self.events.append(("CustomerCreated", customer.handle, 1))
        return customer

    def _change(self, customer: Customer, fields: Json) -> Customer:
        if json.dumps(fields) == json.dumps(customer.fields):
            return customer
        customer.fields = fields
        return self._happened("CustomerUpdated", customer)

    def _happened(self, event_type: str, customer: Customer) -> Customer:
        customer.version += 1
        self.events.append((event_type, customer.handle, customer.version))
        return customer


def resulting(before: Json | None, sent: Json, *, strict: bool) -> Json:
    """The customer's fields after these were sent; raises the refusal with every error."""
    after = dict(before or NOBODY)
    wrong: set[str] = set()
    for member, value in sent.items():
        name = _SPELLINGS.get(member, member)
        if name not in NOBODY:
            wrong |= {f"/{member}"} if strict else set()
            continue
        faults = _faults(name, value)
        wrong |= {f"/{member}{fault}" for fault in faults}
        if not faults:
            after[name] = _taken(name, value, after[name], is_new=before is None)
    if after["email"] is None and after["phone"] is None and not wrong & {"/email", "/phone"}:
        wrong |= {"/email", "/phone"}
    if wrong:
        raise Refusal(400, *wrong)
    return after


def _faults(name: str, value: Any) -> list[str]:
    """Where a value breaks the rules of its field, as pointers below the field."""
    if value is None:
        return []
    match name, value:
        case "tags", list():
            return [f"/{at}" for at, tag in enumerate(value) if not _is_tag(tag)]
        case "communication_preferences", dict():
            return [f"/{key}" for key, allowed in value.items() if not _is_choice(key, allowed)]
        case _:
            return [] if _is_sound(name, value) else [""]


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str) and bool(tag.strip()) and "," not in tag


def _is_choice(key: str, allowed: Any) -> bool:
    return key in _CHANNELS and (allowed is None or isinstance(allowed, bool))


def _is_sound(name: str, text: Any) -> bool:
    if not isinstance(text, str) or NOBODY[name] is not None:
        return name == "custom_fields" and isinstance(text, dict)
    if name == "external_id":
        return 1 <= len(text) <= 255
    if name in {"email", "phone"} and not text.strip():
        return True
    shape = {"email": r"[^@\s]+@[^@\s.]+\.[^@\s]+", "phone": r"\+[1-9][0-9]{1,14}"}.get(
        name, "[^\x00-\x1f]*"
    )
    return re.fullmatch(shape, text) is not None


def _taken(name: str, value: Any, before: Any, *, is_new: bool) -> Any:
    """What a field is after a good value was sent: `null` clears, objects merge by key."""
    if value is None:
        return copy.deepcopy(NOBODY[name])
    if name in {"email", "phone"}:
        return value if value.strip() else None
    if name == "tags":
        kept: dict[str, str] = {}
        for tag in value:
            kept.setdefault(tag.strip().casefold(), tag.strip())
        return list(kept.values())
    if isinstance(value, dict):
        merged = before | value
        if name == "custom_fields" and is_new:
            # There is nothing to remove yet: null is a value like any other.
            return merged
        return {
            key: one
            for key, one in merged.items()
            if value.get(key, key) is not None or before.get(key, key) is None
        }
    return value
