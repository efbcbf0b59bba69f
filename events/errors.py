"""What can go wrong with the log, its keys and its stream.

EventsError
├── UnknownEvent        an event type or schema version this build does not know
├── KeyUnavailable      a key cannot be unwrapped: its master key is missing or wrong
├── CorruptEvent        stored bytes fail authentication, or a key is gone without an erasure
├── LogUnavailable      the database did not answer; what was sent may or may not be in the log
├── AppendFailed        the database refused the very values of a group
├── PositionBeyondEnd   the log is not as long as somebody thinks
├── MessageTooLarge     NATS takes no message as large as this event's
├── EventsMissing       the JetStream stream lacks events behind a subscriber's place
├── LostHistory         what was read is not in the log any more: it was restored
├── ConnectionGone      a subscriber's NATS connection was closed for good
├── NoFork              a new generation was asked for where history did not part
└── StreamContradiction JetStream holds something the log does not: publishing must stop
"""

from typing import Final, Self

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

    def __reduce__(self) -> tuple[type[Self], tuple[str, int]]:
        """How it gets from one process to another, as one that rebuilds needs it."""
        return type(self), (self.event_type, self.schema_version)


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


class PositionBeyondEnd(EventsError):
    """A position at which nothing stands, and which is not the next one either."""

    def __init__(self, position: int, end: int) -> None:
        super().__init__(f"There is no position {position} yet: the log ends at {end}.")
        self.end = end


class NoFork(EventsError):
    """The log and its stream are of one history, so there is nothing to begin anew."""

    def __init__(self, stream: str, words: str) -> None:
        super().__init__(f"No generation was begun: JetStream stream {stream} {words}.")


class MessageTooLarge(EventsError):
    """NATS takes no message as large as this event's: it was appended under another limit."""

    def __init__(self, position: int, size: int, size_max: int) -> None:
        super().__init__(
            f"Event {position} is a message of {size} bytes, and NATS takes {size_max} at most. "
            f"Raise max_payload of NATS to {size} or more and reload it: publishing then goes on "
            "by itself."
        )


class EventsMissing(EventsError):
    """The JetStream stream went on without the events behind a subscriber's place."""

    def __init__(self, stream: str, position: int, sequence: int | None, reason: str) -> None:
        behind = f"position {position}"
        if sequence is not None:
            behind += f" (event {sequence} of the workspace)"
        super().__init__(
            f"JetStream stream {stream} lacks events behind {behind}: {reason}. Nothing was "
            "skipped. Read what is missing from the log, over HTTP with GET /events, and subscribe "
            "behind it, or give the subscriber a `fill` that does so."
        )
        self.position = position
        self.sequence = sequence


class LostHistory(EventsError):
    """What was read is not in the log any more, or cannot be proven to be."""

    def __init__(self, source: str, position: int, reason: str) -> None:
        super().__init__(
            f"{source} does not continue what was read up to position {position}: "
            f"{reason}. The log was restored to an earlier point, and the last events that were "
            "read never happened. Begin again at a place from before the restore, or take back "
            "what the events led to and begin at the beginning."
        )
        self.position = position


class ConnectionGone(EventsError):
    """The NATS connection was closed for good, so that nothing can ever arrive."""

    def __init__(self) -> None:
        super().__init__(
            "The NATS connection was closed for good. Connect with max_reconnect_attempts=-1, or "
            "give the subscriber a function that answers the connection of the moment."
        )


class StreamContradiction(EventsError):
    """The JetStream stream is ahead of the log or differs from it."""
