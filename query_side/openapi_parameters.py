"""The parameters of reads in the API's OpenAPI document."""

from typing import Final

from query_side.filters import SEARCH_MAX, SEARCH_WORDS_MAX
from query_side.list_query import MATCHES_MAX, SORT_KEYS
from query_side.requests import PAGE_MAX, PER_PAGE_DEFAULT, PER_PAGE_MAX
from runtime.readable import Json
from runtime.web.openapi.kit import NO_CONTROL, NOT_BLANK
from runtime.web.query_string import VALUES_MAX

_SORT_KEY: Final = f"-?({'|'.join(SORT_KEYS)})"


def _parameter(name: str, schema: Json, description: str, **more: object) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _text(name: str, description: str, **more: object) -> Json:
    return _parameter(name, {"type": "string", **({"pattern": NO_CONTROL} | more)}, description)


def _moment(name: str, description: str) -> Json:
    return _parameter(name, {"type": "string", "format": "date-time"}, description)


def _tags(name: str, description: str) -> Json:
    items: Json = {"type": "string", "pattern": NO_CONTROL}
    return _parameter(name, {"type": "array", "items": items, "maxItems": VALUES_MAX}, description)


PARAMETERS: Final[dict[str, Json]] = {
    "page": _parameter(
        "page",
        # Without a default: clients would send it beside a cursor, which excludes it.
        {"type": "integer", "minimum": 1, "maximum": PAGE_MAX},
        "Which page; the first if it is not given. Past the end the answer is an empty list with "
        f"true totals, but 400 for a search that has more than {MATCHES_MAX:,} matches.",
    ),
    "per_page": _parameter(
        "per_page",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": PER_PAGE_MAX,
            "default": PER_PAGE_DEFAULT,
        },
        "How many at once.",
    ),
    "cursor": _parameter(
        "cursor",
        {"type": "string", "format": "cursor"},
        "`meta.next_cursor` of an earlier answer: continues after it; nothing is skipped or "
        "repeated, whatever is written meanwhile. With the same filters, search and sort, and "
        "without `page`.",
    ),
    "search": _text(
        "search",
        "Every word must be somewhere in a name, the company, the email, the phone's digits or "
        "the external_id, in any case and accents; words of one or two characters at the start "
        f"of a word. At most {SEARCH_WORDS_MAX} different words. Best matches first.",
        maxLength=SEARCH_MAX,
    ),
    "sort": _parameter(
        "sort",
        {
            "type": "string",
            "pattern": f"^{_SORT_KEY}(,{_SORT_KEY})*$",
            "examples": ["last_name,-created_at"],
        },
        f"One or more of {', '.join(f'`{key}`' for key in SORT_KEYS)}, each once, with `-` for "
        "descending. Absent values are last. Without it: newest first.",
    ),
    "tags": _tags(
        "tags",
        "`tags=vip,gold`: any of them. `tags=vip&tags=gold`: all of them. At most "
        f"{VALUES_MAX} tags, in any case.",
    ),
    "tags_none": _tags("tags_none", "None of these tags."),
    "email": _text("email", "Exactly this email, in any case.", pattern=NOT_BLANK),
    "phone": _text("phone", "Exactly this phone.", pattern=NOT_BLANK),
    "external_id": _text("external_id", "Exactly this external_id.", minLength=1),
    "created_after": _moment("created_after", "Created after this moment (RFC 3339)."),
    "updated_after": _moment("updated_after", "Last changed after this moment (RFC 3339)."),
    "consistency": _parameter(
        "consistency",
        {"type": "string", "enum": ["eventual"]},
        "`eventual` answers at once. Without it a read waits until it shows every write of its "
        "workspace that has answered; when that takes too long, `meta.stale` is true.",
    ),
}
