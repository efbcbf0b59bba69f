"""Words for people that more than one place says."""


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its name when it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def limit_warning(taken: int, believed: int) -> str:
    """What is told before an event comes that is too large for NATS; nothing when none can be."""
    if taken >= believed:
        return ""
    return (
        f"NATS takes messages of {taken} bytes, and CUSTOMERS_NATS_MAX_PAYLOAD says {believed}: "
        "a larger event would stop publishing. Make the two equal."
    )
