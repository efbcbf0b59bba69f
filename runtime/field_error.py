"""One thing wrong with a request, as every refusal lists it."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

_SENTENCES_MAX: Final = 5


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


def summary(errors: Sequence[FieldError]) -> str:
    """What a refusal says of all its errors: each sentence once, or of many only that they are.

    In front of a sentence stand the members of the body that it is about; one about something
    else names it itself.
    """
    if len(errors) > _SENTENCES_MAX:
        return f"More than {_SENTENCES_MAX} things are wrong; `errors` lists them."
    fields: dict[str, list[str]] = {}
    for error in errors:
        about = fields.setdefault(error.error, [])
        if error.pointer and error.field not in about:
            about.append(error.field)
    return " ".join(
        f"{', '.join(about)}: {sentence}" if about else sentence
        for sentence, about in fields.items()
    )
