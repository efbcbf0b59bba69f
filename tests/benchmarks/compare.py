"""Whether the peer answers what we answer: only then may the two be compared in speed."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_OWN: Final = frozenset({"id", "created_at", "updated_at", "version"})
"""What each service gives a customer by itself."""
_PAGE: Final = ("page", "per_page", "total", "total_pages", "has_next", "has_prev")
_COUNTS: Final = ("total", "created", "updated", "unchanged", "failed")


def differences(ours: bytes, peers: bytes) -> list[str]:
    """How two answers to the same request differ; nothing when they do not.

    Compared are customers, in their order, and what is said of a page or of a bulk call. A total
    that is a lower bound of ours must be one of the peer's.
    """
    mine, theirs = msgspec.json.decode(ours), msgspec.json.decode(peers)
    found = [
        f"{member}: ours {mine[member]}, the peer's {theirs[member]}"
        for member in ("success", "status_code")
        if mine[member] != theirs[member]
    ]
    return found + _of_meta(mine["meta"], theirs["meta"]) + _of_data(mine["data"], theirs["data"])


def _of_meta(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    if "total" not in mine:
        return []
    if mine.get("total_is_lower_bound"):
        total, bound = theirs["total"], mine["total"]
        return [] if total >= bound else [f"total: ours at least {bound}, the peer's {total}"]
    return _of_members(_PAGE, mine, theirs)


def _of_data(mine: Any, theirs: Any) -> list[str]:
    if isinstance(mine, list):
        if len(mine) != len(theirs):
            return [f"ours lists {len(mine)} customers, the peer {len(theirs)}"]
        pairs = enumerate(zip(mine, theirs, strict=True))
        return [f"row {row}: {text}" for row, pair in pairs for text in _of_customer(*pair)]
    if "results" in mine:
        found = _of_members(_COUNTS, mine, theirs)
        return found + _of_data(mine["results"], theirs["results"])
    return _of_customer(mine, theirs)


def _of_customer(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return _of_members(sorted(mine.keys() - _OWN), mine, theirs)


def _of_members(members: Any, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [
        f"{member}: ours {mine[member]!r}, the peer's {theirs.get(member)!r}"
        for member in members
        if mine[member] != theirs.get(member)
    ]
