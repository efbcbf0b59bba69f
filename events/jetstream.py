"""The JetStream stream of a log: its name, its subjects, its headers, its configuration."""

from typing import Final, cast

from nats.js.api import DiscardPolicy, RawStreamMsg, RetentionPolicy, StorageType, StreamConfig

from events.cloudevents import CONTENT_TYPE, traceparent_of
from events.envelope import CustomerId, StoredEvent, WorkspaceId
from events.errors import UnknownEvent

STREAM: Final = "CUSTOMERS_{log}_{generation}"
SUBJECT: Final = "customers.{log}.{generation}.{workspace}.{partition}.{action}"

LEDGER_STREAM: Final = "CUSTOMERS_ERASURES_{log}"
LEDGER_SUBJECT: Final = "customers.{log}.erasures"

HEADS_STREAM: Final = "CUSTOMERS_HEADS_{log}"
HEADS_SUBJECT: Final = "customers-heads.{log}.{generation}"

POSITION_HEADER: Final = "Customers-Position"
DIGEST_HEADER: Final = "Customers-Digest"
CHAIN_HEADER: Final = "Customers-Chain"
TRACE_HEADER: Final = "traceparent"
"""W3C Trace Context, where tracing tools look for it; only on events whose request had one."""

MESSAGES_PER_BATCH_MAX: Final = 1000
"""What the server takes as one atomic batch (error 10199 beyond)."""

ACTIONS: Final = {
    "CustomerCreated": "created",
    "CustomerUpdated": "updated",
    "CustomerDeleted": "deleted",
    "CustomerRestored": "restored",
    "CustomerErased": "erased",
}
"""The last token of a subject, by event type."""


def headers_of(message: RawStreamMsg) -> dict[str, str]:
    """The headers of a stored message; the library's type leaves their values open."""
    return cast(dict[str, str], message.headers or {})


def stream_name(log_id: int, generation: int) -> str:
    """The name of the JetStream stream that holds one lineage of a log."""
    return STREAM.format(log=log_id, generation=generation)


def event_subject(
    log_id: int, generation: int, workspace_id: WorkspaceId, customer_id: CustomerId, type_: str
) -> str:
    """The subject of an event; 256 partitions by the last byte of the customer's id."""
    if type_ not in ACTIONS:
        raise UnknownEvent(type_, 1)
    return SUBJECT.format(
        log=log_id,
        generation=generation,
        workspace=workspace_id,
        partition=f"{customer_id.bytes[-1]:02x}",
        action=ACTIONS[type_],
    )


def message_headers(event: StoredEvent) -> dict[str, str]:
    """The headers of an event's message."""
    headers = {
        "Content-Type": CONTENT_TYPE,
        POSITION_HEADER: str(event.position),
        DIGEST_HEADER: event.digest.hex(),
        CHAIN_HEADER: event.chain.hex(),
    }
    traceparent = traceparent_of(event)
    return headers if traceparent is None else headers | {TRACE_HEADER: traceparent}


def lineage_subjects(log_id: int, generation: int) -> str:
    """The subjects of all events of one lineage of a log."""
    return f"customers.{log_id}.{generation}.>"


def workspace_subjects(log_id: int, generation: int, workspace_id: WorkspaceId) -> str:
    """The subjects of all events of one workspace, for a consumer to filter by."""
    return f"customers.{log_id}.{generation}.{workspace_id}.>"


def ledger_stream(log_id: int) -> str:
    """The name of the JetStream stream that names every erasure of a log, whatever its lineage."""
    return LEDGER_STREAM.format(log=log_id)


def ledger_subject(log_id: int) -> str:
    """The subject of its messages."""
    return LEDGER_SUBJECT.format(log=log_id)


def appended_ping(log_id: int) -> str:
    """Core NATS subject rung after an append; the payload is the newest position."""
    return f"customers-ping.{log_id}.appended"


def projected_ping(log_id: int) -> str:
    """Core NATS subject rung after the read model moved; the payload is its checkpoint."""
    return f"customers-ping.{log_id}.projected"


def stream_config(log_id: int, generation: int, replicas: int) -> StreamConfig:
    """A stream that keeps everything for ever and takes atomic batches."""
    return StreamConfig(
        name=stream_name(log_id, generation),
        subjects=[lineage_subjects(log_id, generation)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        # Redelivery is told apart by sequence; a de-duplication window would answer for messages
        # that are gone.
        duplicate_window=0.1,
        allow_atomic=True,
        allow_direct=True,
    )


def ledger_config(log_id: int, replicas: int) -> StreamConfig:
    """A stream of which nothing can be taken out again, by nobody's right."""
    return StreamConfig(
        name=ledger_stream(log_id),
        subjects=[ledger_subject(log_id)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        duplicate_window=0.1,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
    )


def heads_stream_name(log_id: int) -> str:
    """The name of the JetStream stream that holds the signed heads of a log."""
    return HEADS_STREAM.format(log=log_id)


def heads_subject(log_id: int, generation: int) -> str:
    """The subject of a signed head."""
    return HEADS_SUBJECT.format(log=log_id, generation=generation)


def heads_config(log_id: int, replicas: int) -> StreamConfig:
    """A stream that keeps everything for ever, and out of which nothing can be deleted."""
    return StreamConfig(
        name=heads_stream_name(log_id),
        subjects=[HEADS_SUBJECT.format(log=log_id, generation="*")],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
    )
