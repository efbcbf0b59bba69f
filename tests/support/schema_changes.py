"""What changed in a published JSON Schema that must stay as it is."""

from typing import Any, Final

ANNOTATIONS: Final = frozenset(
    {"$id", "$comment", "title", "description", "examples", "deprecated"}
)
"""They tell people something, and no program relies on them."""
_SETS: Final = frozenset({"required", "enum", "type"})


def breaking_changes(published: Any, now: Any, place: str = "") -> list[str]:
    """What is no longer as published, one sentence each; none when no subscriber can tell.

    A looser schema breaks whoever relies on the published one. A stricter one is no better: it says
    something of events that were stored before, for ever, and that were never held to it. What may
    come is a member that is optional: objects are open.
    """
    if not isinstance(published, dict) or not isinstance(now, dict):
        return [] if published == now else [f"{place or '/'}: was {published}, is {now}"]
    found: list[str] = []
    for keyword in sorted({*published, *now} - ANNOTATIONS):
        was, is_now, here = published.get(keyword), now.get(keyword), f"{place}/{keyword}"
        if keyword == "properties":
            others = published.get("additionalProperties", True)
            found += _changed_members(was or {}, is_now or {}, others, here)
        elif keyword in _SETS:
            found += [] if _as_set(was) == _as_set(is_now) else [f"{here}: was {was}, is {is_now}"]
        elif keyword == "const":
            found += [] if was == is_now else [f"{here}: was {was}, is {is_now}"]
        elif isinstance(was, list) and isinstance(is_now, list) and len(was) == len(is_now):
            for index, (one, other) in enumerate(zip(was, is_now, strict=True)):
                found += breaking_changes(one, other, f"{here}/{index}")
        else:
            found += breaking_changes(was, is_now, here)
    return found


def _changed_members(
    was: dict[str, Any], is_now: dict[str, Any], others: Any, place: str
) -> list[str]:
    found = [f"{place}/{name}: is not described any more" for name in was.keys() - is_now.keys()]
    for name, schema in is_now.items():
        # A new one was among the others until now, which had to be as was said of them.
        before = was.get(name, others)
        if before not in (True, {}):
            found += breaking_changes(before, schema, f"{place}/{name}")
    return sorted(found)


def _as_set(value: Any) -> set[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return set(map(repr, values))
