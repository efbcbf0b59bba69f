"""One thing wrong with a request, as every refusal lists it."""

from msgspec import Struct


class FieldError(Struct, frozen=True, kw_only=True):
    """One thing wrong with what was sent.

    `field` is spelled as the client spelled it, `code` never changes, `pointer` (RFC 6901) says
    where in the body; it is null for what is not in the body.
    """

    field: str
    error: str
    code: str
    pointer: str | None = None


def escape_pointer(member: str) -> str:
    """A member's name as one step of a JSON pointer (RFC 6901)."""
    return member.replace("~", "~0").replace("/", "~1")
