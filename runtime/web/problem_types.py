"""The kinds of problems in answers (RFC 9457): `type` is `/problems/<code>`.

Codes never change, and the page at that address says what is written here.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class ProblemType(Struct, frozen=True):
    """One kind: its status, what it is called, what it means and what its reader can do."""

    status: int
    title: str
    meaning: str
    remedy: str


# The first of a status is what an answer of that status means when it does not say more.
PROBLEMS: Final[Mapping[str, ProblemType]] = {
    "invalid_request": ProblemType(
        400,
        "Invalid request",
        "Something in the address, the headers or the body cannot be used. Nothing was changed.",
        "Read errors: it names every fault at once, with the place of each. Mend them all and "
        "send the request again; as it is, it will be refused again.",
    ),
    "invalid_key": ProblemType(
        401,
        "Invalid API key",
        "The request has no API key, or one that is unknown, revoked or expired.",
        "Send a valid key in the header X-Api-Key, and in no other way.",
    ),
    "wrong_metrics_token": ProblemType(
        401,
        "Wrong metrics token",
        "The metrics are read with a token, and the request has none, or another one.",
        "Send the value of CUSTOMERS_METRICS_TOKEN as Authorization: Bearer and the token.",
    ),
    "missing_scope": ProblemType(
        403,
        "Missing scope",
        "The API key is valid, but it may not do this.",
        "Use a key that has the scope which the answer names.",
    ),
    "not_found": ProblemType(
        404,
        "Not found",
        "There is nothing at this path.",
        "Compare the path with the documentation at /docs.",
    ),
    "customer_not_found": ProblemType(
        404,
        "Customer not found",
        "No customer of the key's workspace has this id, or the customer was deleted.",
        "Check the id, and whether the key belongs to the right workspace, live or sandbox. "
        "A deleted customer can be restored by its id.",
    ),
    "method_not_allowed": ProblemType(
        405,
        "Method not allowed",
        "This path exists, but not with this method.",
        "Use one of the methods in the header Allow.",
    ),
    "external_id_taken": ProblemType(
        409,
        "external_id taken",
        "Another customer of the workspace has this external_id, and it belongs to one only.",
        "Update that customer, whose id is in existing_id, or send another external_id.",
    ),
    "request_timeout": ProblemType(
        408,
        "Request timeout",
        "The request did not come whole in time. Nothing was changed.",
        "Send it again, all of it at once; on a slow line, in smaller parts.",
    ),
    "request_in_progress": ProblemType(
        409,
        "Request in progress",
        "A request with this Idempotency-Key is still being worked on.",
        "Send the request again after as many seconds as Retry-After says.",
    ),
    "customer_erased": ProblemType(
        410,
        "Customer erased",
        "The personal data of this customer was erased, and cannot come back.",
        "Forget the id. The person can be created anew, as another customer.",
    ),
    "lost_history": ProblemType(
        410,
        "Lost history",
        "The consistency token, or the cursor of the event feed, is about something that the "
        "service no longer knows: its database was restored to an earlier point.",
        "A token: throw it away, read without it, and repeat the writes that are missing. A "
        "cursor: what you made of the events may be about some that never happened. Begin anew "
        "without a cursor, or with an older one and what you had made of the events up to there.",
    ),
    "version_mismatch": ProblemType(
        412,
        "Version mismatch",
        "The customer is not in the version that the request demands. Nothing was changed.",
        "Read the customer again, decide anew, and send the version that you then have.",
    ),
    "body_too_long": ProblemType(
        413,
        "Body too long",
        "The body has more bytes than this call takes.",
        "Send less, or in several calls.",
    ),
    "event_too_large": ProblemType(
        413,
        "Event too large",
        "What would be written, with the values from before, makes a larger event than the "
        "service can publish. Nothing was changed.",
        "Make tags or custom_fields smaller, or change them in several writes.",
    ),
    "unsupported_media_type": ProblemType(
        415,
        "Unsupported media type",
        "Content-Type is not JSON, or the body is not in UTF-8, or compressed.",
        "Send JSON in UTF-8 as it is, with Content-Type: application/json.",
    ),
    "idempotency_key_reused": ProblemType(
        422,
        "Idempotency-Key used before",
        "This Idempotency-Key belongs to an earlier request with other content.",
        "Use a new key for a new request. To repeat the earlier one, send exactly the same.",
    ),
    "rate_limited": ProblemType(
        429,
        "Too many requests",
        "This API key sends more requests than it may, or has more event streams open.",
        "Wait as many seconds as Retry-After says. RateLimit in each answer says what is left.",
    ),
    "internal": ProblemType(
        500,
        "Internal error",
        "Something went wrong on our side.",
        "Try again later; a write with the same Idempotency-Key is done once only. To ask about "
        "it, give the request_id of the answer.",
    ),
    "unavailable": ProblemType(
        503,
        "Unavailable",
        "Something that the answer needs is away, or slower than the request may wait; or the "
        "service has more to do than it can, and has not begun with the request.",
        "Send the request again after as many seconds as Retry-After says; a write with the same "
        "Idempotency-Key is done once only.",
    ),
}

_CODE_OF: Final = {kind.status: code for code, kind in reversed(PROBLEMS.items())}


def code_of(status: int) -> str:
    """What a failure of this status means when it says no more; raises KeyError for others."""
    return _CODE_OF[status]
