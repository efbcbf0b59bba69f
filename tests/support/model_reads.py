"""What reads must answer over the customers of the model: filters, search, order, tag counts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.model import Customer, Space


@dataclass(frozen=True)
class Query:
    """The parameters of a list call but those of its pages; None and () ask for nothing."""

    tags: tuple[str, ...] = ()
    tags_none: str | None = None
    search: str | None = None
    email: str | None = None
    phone: str | None = None
    external_id: str | None = None
    created_after: str | None = None
    updated_after: str | None = None
    sort: str | None = None

    @property
    def parameters(self) -> dict[str, str | list[str]]:
        """As they are sent."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(one) if name == "tags" else one for name, one in given.items() if one}


def find(space: Space, query: Query) -> list[Customer]:
    """The customers that a list call shows, in its order."""
    found = [customer for customer in space.live if _is_asked_for(customer, query)]
    found.sort(key=lambda customer: (customer.times[1], customer.id), reverse=True)
    if query.sort:
        return _sorted_by(found, query.sort)
    if query.search and query.search.strip():
        words = fold(query.search)
        found.sort(key=lambda customer: _rank(customer, words))
    return found


def count_tags(space: Space) -> dict[str, Counter[str]]:
    """How often each tag is there, by spelling, under its folded form."""
    counts: dict[str, Counter[str]] = {}
    for customer in space.live:
        for tag in customer.fields["tags"]:
            counts.setdefault(tag.casefold(), Counter())[tag] += 1
    return counts


def fold(text: str) -> str:
    """Without case and accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(one for one in parts if not unicodedata.combining(one)).split())


def _is_asked_for(customer: Customer, query: Query) -> bool:
    fields = customer.fields
    tags = {tag.casefold() for tag in fields["tags"]}
    groups = [{tag.casefold() for tag in group.split(",")} for group in query.tags]
    return (
        all(tags & group for group in groups)
        and not tags & set((query.tags_none or "").casefold().split(","))
        and query.external_id in (None, fields["external_id"])
        and query.phone in (None, fields["phone"])
        and (query.email or "").casefold() in ("", (fields["email"] or "").casefold())
        and customer.times[1] > (query.created_after or "")
        and customer.times[customer.version] > (query.updated_after or "")
        and all(_is_found(customer, word) for word in fold(query.search or "").split())
    )


def _texts(customer: Customer) -> list[str]:
    fields = customer.fields
    first, last = fields["first_name"], fields["last_name"]
    whole = f"{first} {last}" if first and last else None
    names = (first, last, whole, fields["company_name"], fields["email"], fields["external_id"])
    return [fold(name) for name in names if name] + [_digits(fields["phone"] or "")]


def _digits(text: str) -> str:
    return re.sub("[^0-9]", "", text)


def _is_found(customer: Customer, word: str) -> bool:
    if len(word) <= 2:
        return _is_start(customer, word)
    return _anywhere(customer, word, lambda text, part: part in text)


def _is_start(customer: Customer, word: str) -> bool:
    return _anywhere(
        customer, word, lambda text, part: any(one.startswith(part) for one in text.split())
    )


def _anywhere(customer: Customer, word: str, holds: Callable[[str, str], bool]) -> bool:
    *names, phone = _texts(customer)
    is_number = re.fullmatch(r"[-+()./0-9]*[0-9][-+()./0-9]*", word)
    return any(holds(name, word) for name in names) or (
        is_number is not None and holds(phone, _digits(word))
    )


def _rank(customer: Customer, words: str) -> int:
    *names, phone = _texts(customer)
    is_number = re.fullmatch(r"[-+()./0-9 ]*[0-9][-+()./0-9 ]*", words)
    wanted = [(name, words) for name in names]
    wanted += [(phone, _digits(words))] if is_number and phone else []
    if any(text == part for text, part in wanted):
        return 1
    if any(text.startswith(part) for text, part in wanted):
        return 2
    return 3 if all(_is_start(customer, word) for word in words.split()) else 4


def _sorted_by(newest_first: list[Customer], sort: str) -> list[Customer]:
    *_, last = keys = sort.split(",")
    found = sorted(newest_first, key=lambda one: one.id, reverse=last.startswith("-"))
    for key in reversed(keys):
        is_falling, name = key.startswith("-"), key.removeprefix("-")
        found.sort(key=lambda one, name=name: _sort_key(one, name) or "", reverse=is_falling)
        found.sort(key=lambda one, name=name: _sort_key(one, name) is None)
    return found


def _sort_key(customer: Customer, name: str) -> str | None:
    value: Any = customer.document[name]
    return value if name.endswith("_at") or value is None else fold(value)
