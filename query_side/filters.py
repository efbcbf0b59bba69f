"""Filters, search and order, as a query string spells them."""

from typing import Final

from events.envelope import WorkspaceId
from query_side.list_query import NEWEST_FIRST, SORT_KEYS, Filters
from runtime.text import SearchPatterns, search_patterns, tag_key
from runtime.web.query_string import ParameterReader

SEARCH_MAX: Final = 1000
SEARCH_WORDS_MAX: Final = 100


def read_filters(workspace_id: WorkspaceId, reader: ParameterReader) -> Filters:
    """Which customers are listed; the reader keeps what is wrong with it."""
    tags_any = (
        tuple(dict.fromkeys(tag_key(workspace_id, tag) for tag in group))
        for group in reader.many("tags")
    )
    tags_none = (tag_key(workspace_id, tag) for group in reader.many("tags_none") for tag in group)
    email, phone = _read_exact(reader, "email"), _read_exact(reader, "phone")
    return Filters(
        tags_any=tuple(dict.fromkeys(tags_any)),
        tags_none=tuple(dict.fromkeys(tags_none)),
        # Neither holds a space: one is a plus that was not percent-encoded.
        email=None if email is None else email.replace(" ", "+"),
        phone=None if phone is None else phone.replace(" ", "+"),
        external_id=_read_exact(reader, "external_id", may_be_white=True),
        created_after=reader.moment("created_after"),
        updated_after=reader.moment("updated_after"),
        search=_read_search(reader),
    )


def read_sort(reader: ParameterReader, *, is_search: bool) -> tuple[str, ...]:
    """The keys to sort by; none for the best matches of a search first."""
    text = reader.one("sort")
    if text is None:
        return () if is_search else NEWEST_FIRST
    keys = tuple(text.split(","))
    names = [key.removeprefix("-") for key in keys]
    known = ", ".join(SORT_KEYS)
    for name in dict.fromkeys(names):
        if name not in SORT_KEYS:
            message = f"sort takes {known}, each with an optional - in front."
            reader.refuse("sort", message, "unknown_value")
            break
    else:
        if len(set(names)) < len(names):
            reader.refuse("sort", "sort names a key more than once.", "repeated")
    return keys


def _read_exact(reader: ParameterReader, name: str, *, may_be_white: bool = False) -> str | None:
    text = reader.one(name)
    if text is not None and not (text if may_be_white else text.strip()):
        # A value that went missing on the way must not make the list longer.
        message = f"{name} is blank; leave it out to filter by something else only."
        reader.refuse(name, message, "blank")
    return text


def _read_search(reader: ParameterReader) -> SearchPatterns | None:
    text = reader.one("search") or ""
    if len(text) > SEARCH_MAX:
        reader.refuse("search", f"search takes at most {SEARCH_MAX} characters.", "too_long")
        return None
    patterns = search_patterns(text)
    if patterns is not None and len(patterns.anywhere) > SEARCH_WORDS_MAX:
        message = f"search takes at most {SEARCH_WORDS_MAX} different words."
        reader.refuse("search", message, "too_many")
    return patterns
