"""What can go wrong with the log, its keys and its stream.

EventsError
├── UnknownEvent        an event type or schema version this build does not know
├── KeyUnavailable      a key cannot be unwrapped: its master key is missing or wrong
├── CorruptEvent        stored bytes fail authentication, or a key is gone without an erasure
├── LogUnavailable      the database did not answer; what was sent may or may not be in the log
├── AppendFailed        the database refused the very values of a group
└── StreamContradiction JetStream holds something the log does not: publishing must stop
"""

from typing import Final

IN_ANOTHER_LOG: Final = "23L01"
"""SQLSTATE of `log.append`: the group's workspace has its events in another log."""


class EventsError(Exception):
    """Base of every technical fault of the log."""


class UnknownEvent(EventsError):
    """An event of a type or schema version this build does not know."""

    def __init__(self, event_type: str, schema_version: int) -> None:
        super().__init__(
            f"No {event_type} of schema version {schema_version} is known: "
            "this build is older than the event. Upgrade this process."
        )
        self.event_type = event_type
        self.schema_version = schema_version


class KeyUnavailable(EventsError):
    """A data key or a secret cannot be unwrapped with the master keys at hand."""

    def __init__(self, master_key_id: str) -> None:
        super().__init__(
            f"The master key {master_key_id!r} is not among CUSTOMERS_MASTER_KEYS, "
            "or is not the one that wrapped this key. Add it to the variable."
        )
        self.master_key_id = master_key_id


class CorruptEvent(EventsError):
    """Stored bytes that are not what was written."""


class LogUnavailable(EventsError):
    """The database did not answer in time."""


class AppendFailed(EventsError):
    """The database refused the very values of a group; its neighbours were appended."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(
            "The workspace is in another log of this database, and a workspace is in one log only. "
            "Set CUSTOMERS_LOG_ID to that log, or use another workspace in this one."
            if sqlstate == IN_ANOTHER_LOG
            else f"The database refused the event (SQLSTATE {sqlstate})."
        )
        self.sqlstate = sqlstate


class StreamContradiction(EventsError):
    """The JetStream stream is ahead of the log or differs from it."""
