"""Which customers are listed, in which order, and which part of the list is wanted."""

import hashlib
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from runtime.text import SearchPatterns, fold_case, sort_key

NEWEST_FIRST: Final = ("-created_at",)
SORT_KEYS: Final = ("created_at", "updated_at", "last_name", "company_name", "email")
"""What a list can be sorted by; with a `-` in front descending."""
MATCHES_MAX: Final = 10_000
"""So many matches of a search are counted, ranked, and paged through by number."""
_NO_SEARCH: Final = (None,) * len(SearchPatterns.__struct_fields__)


class Filters(Struct, frozen=True, kw_only=True):
    """Which customers are listed; what is None filters nothing."""

    tags_any: tuple[tuple[str, ...], ...] = ()
    """Groups of tag keys: one of each group must be there."""
    tags_none: tuple[str, ...] = ()
    email: str | None = None
    phone: str | None = None
    external_id: str | None = None
    created_after: datetime | None = None
    updated_after: datetime | None = None
    search: SearchPatterns | None = None


class ListQuery(Struct, frozen=True, kw_only=True):
    """A part of a list."""

    filters: Filters
    sort: tuple[str, ...]
    """Empty: the best matches of the search first."""
    offset: int
    limit: int
    after: tuple[str | None, ...] | None = None
    """Position of the last customer of the earlier page."""

    def fingerprint(self) -> bytes:
        """The same for every part of the same list."""
        return hashlib.sha256(msgspec.msgpack.encode((self.filters, self.sort))).digest()[:16]

    def parameters(self) -> list[object]:
        """What edition_<n>.list_customers takes after the workspace and the log."""
        filters = self.filters
        search = filters.search
        return [
            self.offset,
            self.limit,
            list(self.sort),
            None if self.after is None else list(self.after),
            [
                sort_key(filters.email),
                None if filters.email is None else fold_case(filters.email),
                filters.phone,
                filters.external_id,
                None if filters.created_after is None else filters.created_after.isoformat(),
                None if filters.updated_after is None else filters.updated_after.isoformat(),
            ],
            ["\n".join(group) for group in filters.tags_any],
            list(filters.tags_none),
            *(_NO_SEARCH if search is None else msgspec.structs.astuple(search)),
            MATCHES_MAX,
        ]
