"""The headers and ids that requests of both sides carry, in the API's OpenAPI document."""

from typing import Final

from runtime.readable import Json
from runtime.web.context import LONGEST
from runtime.web.headers import REQUEST_ID_MAX
from runtime.web.openapi.kit import EXAMPLE_ID, NO_CONTROL

_ETAG: Final = r'(W/)?"[!#-~]*"'
_ETAGS: Final = rf"^(\*|(,[ \t,]*)?{_ETAG}([ \t]*,[ \t,]*{_ETAG})*([ \t,]*,)?)$"


def _header(name: str, description: str, **schema: object) -> Json:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", **schema},
    }


PARAMETERS: Final[dict[str, Json]] = {
    "customer_id": {
        "name": "customer_id",
        "in": "path",
        "required": True,
        "description": "The id of the customer.",
        "schema": {"type": "string", "format": "uuid", "examples": [EXAMPLE_ID]},
    },
    "X-Request-Id": _header(
        "X-Request-Id",
        f"Your id of this request, up to {REQUEST_ID_MAX} letters, digits and `._:-`. It comes "
        "back in the answer; a malformed one is replaced by a new one.",
        examples=["order-4711"],
    ),
    "traceparent": _header(
        "traceparent",
        "W3C Trace Context; kept with what the request changes. A malformed one is ignored.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ),
    "X-Actor": _header(
        "X-Actor",
        f"Who makes the change, at most {LONGEST} characters; kept in the customer's history.",
        examples=["clerk@example.com"],
        maxLength=LONGEST,
        pattern=NO_CONTROL,
    ),
    "X-Reason": _header(
        "X-Reason",
        f"Why the change is made, at most {LONGEST} characters; kept in the customer's history.",
        examples=["asked for on the phone"],
        maxLength=LONGEST,
        pattern=NO_CONTROL,
    ),
    "Prefer": _header(
        "Prefer",
        "`handling=strict` (RFC 7240) refuses members and parameters that nobody knows. Without "
        "it they are ignored and named in `meta.warnings`.",
        examples=["handling=lenient"],
    ),
    "If-Match": _header(
        "If-Match",
        "Do it only if the customer is in this version: the ETag of an earlier answer. "
        "Otherwise 412.",
        examples=['"1"'],
        pattern=_ETAGS,
    ),
    "If-None-Match": _header(
        "If-None-Match",
        "An ETag that you have already: if it is still the current one, the answer is 304.",
        examples=['"1"'],
        pattern=_ETAGS,
    ),
    "If-None-Match-Document": _header(
        "If-None-Match", "The ETag of the document that you have: if it is the same, 304."
    ),
    "If-None-Match-Write": _header(
        "If-None-Match",
        "With `*` the write is done only if no such customer exists; else 412. By id, one always "
        "does.",
        examples=["*"],
        pattern=_ETAGS,
    ),
    "X-Consistency-Token": _header(
        "X-Consistency-Token",
        "A token that a write has answered: the read shows that write, or is 503. It is opaque, "
        "and belongs to its workspace.",
        format="consistency-token",
    ),
}


def parameter_refs(*names: str) -> list[Json]:
    """Parameters of an operation, by their names among the document's components."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
