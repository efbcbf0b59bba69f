"""Words for people that more than one place says."""

from runtime.masking import mask

_UNREADABLE = (
    "it is no libpq URL; a character of user or password that is no letter or digit must be "
    "percent-encoded"
)


def one_line(error: BaseException) -> str:
    """What an error says, on one line and without secrets; its name when it says nothing."""
    if type(error).__name__ == "ProgrammingError" and type(error).__module__ == "psycopg":
        # It quotes the part of the URL that it stumbled over, which may be of the password.
        return _UNREADABLE
    return mask(" ".join(str(error).split())) or type(error).__name__


def limit_warning(taken: int, believed: int) -> str:
    """What is told before an event comes that is too large for NATS; nothing when none can be."""
    if taken >= believed:
        return ""
    return (
        f"NATS takes messages of {taken} bytes, and CUSTOMERS_NATS_MAX_PAYLOAD says {believed}: "
        "a larger event would stop publishing. Make the two equal."
    )
