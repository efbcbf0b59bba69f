"""The headers that answers carry, in the API's OpenAPI document."""

from typing import Final

from runtime.readable import Json
from runtime.web.fixed_document import A_DAY
from runtime.web.log_head import BRIEFLY


def _header(description: str, *, required: bool = False, **schema: object) -> Json:
    header: Json = {"description": description, "schema": {"type": "string", **schema}}
    return header | ({"required": True} if required else {})


ANSWER_HEADERS: Final[dict[str, Json]] = {
    "X-Request-Id": _header("The id of this request; also in `meta.request_id`.", required=True),
    "Cache-Control": _header(
        "Nothing is answered from a cache without asking.",
        required=True,
        pattern="^no-(store|cache)$",
    ),
    "Cache-Control-A-Day": _header("Anybody may keep it for a day.", required=True, const=A_DAY),
    "Cache-Control-Briefly": _header(
        "Anybody may keep it for seconds.", required=True, const=BRIEFLY
    ),
    "Content-Security-Policy": _header(
        "What the page may load: nothing from elsewhere.", required=True
    ),
    "Document-ETag": _header("Which document this is, for If-None-Match.", required=True),
    "X-Content-Type-Options": _header("Always `nosniff`.", required=True, const="nosniff"),
    "Vary": _header("Failures come as `application/problem+json` when `Accept` asks for it."),
    "RateLimit-Policy": _header(
        "How many requests the API key may make, per 60 seconds and API process. Not there when "
        "the limit is off.",
        pattern='^"default";q=[0-9]+;w=60$',
    ),
    "RateLimit": _header(
        "What the API key has left now: `r` requests, all of them again in `t` seconds. Not there "
        "when the limit is off.",
        pattern='^"default";r=[0-9]+;t=[0-9]+$',
    ),
    "X-Accel-Buffering": _header(
        "Tells proxies to pass each piece on at once.", required=True, const="no"
    ),
    "Content-Disposition": _header("Under which name to save it; there when the answer is a file."),
    "Retry-After": _header(
        "Send the request again after so many seconds.", required=True, pattern="^[1-9][0-9]*$"
    ),
    "WWW-Authenticate": _header(
        "How to say who you are; `Bearer` for the metrics alone.",
        required=True,
        enum=['ApiKey header="X-Api-Key"', "Bearer"],
    ),
    "ETag": _header(
        "The version of the customer, in quotes, for If-Match and If-None-Match.",
        required=True,
        pattern='^"[1-9][0-9]*"$',
    ),
    "Location": _header("The path of the customer.", required=True, format="uri-reference"),
    "Link": _header(
        "Other pages of the same list (RFC 8288): `first`, `prev`, `next`, `last`, those there are."
    ),
    "X-Consistency-Token": _header(
        "Send it with a read to be sure that the read shows this write.",
        required=True,
        format="consistency-token",
    ),
    "Idempotency-Replayed": _header(
        "The answer of the first request with this Idempotency-Key; nothing was done again.",
        const="true",
    ),
    "Preference-Applied": _header("The preference that was heeded.", const="handling=strict"),
    "Retry-After-In-Progress": _header(
        "Send the request again after so many seconds; only while the first request still runs.",
        pattern="^[1-9][0-9]*$",
    ),
    "Consistency-Token-Of-Bulk": _header(
        "Send it with a read to be sure that the read shows this write. Not there when the call "
        "touched no customer.",
        format="consistency-token",
    ),
    "Location-Of-Created": _header(
        "The path of the customer; only when it was created.", format="uri-reference"
    ),
    "Current-ETag": _header(
        "The version that the customer has now, if there is one.", pattern='^"[1-9][0-9]*"$'
    ),
    "Accept": _header("The content types that are read."),
    "Accept-Encoding": _header("`identity`: send the body as it is."),
}

_TRUE_NAMES: Final = {
    "Retry-After-In-Progress": "Retry-After",
    "Consistency-Token-Of-Bulk": "X-Consistency-Token",
    "Location-Of-Created": "Location",
    "Current-ETag": "ETag",
    "Document-ETag": "ETag",
    "Cache-Control-A-Day": "Cache-Control",
    "Cache-Control-Briefly": "Cache-Control",
}


def header_refs(*names: str) -> Json:
    """Headers of an answer, by their names among the document's components."""
    return {_TRUE_NAMES.get(name, name): {"$ref": f"#/components/headers/{name}"} for name in names}
