"""What is stored, hashed or published for ever beside the payloads, against files written once."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest

from events import jetstream
from events.chain import GENESIS, event_digest, next_chain
from events.cloudevents import render_cloud_event, traceparent_of
from events.envelope import (
    CustomerId,
    Metadata,
    Position,
    StoredEvent,
    StreamVersion,
    WorkspaceId,
)
from events.keys import DataKey, PayloadBinding, open_payload

GOLDEN = Path(__file__).parent.parent / "golden" / "formats"

CUSTOMER = CustomerId(UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"))
PLACE = PayloadBinding(
    workspace_id=WorkspaceId("acme"),
    stream_id=CUSTOMER,
    stream_version=StreamVersion(3),
    type="CustomerUpdated",
    schema_version=1,
)
EVENT = StoredEvent(
    log_id=1,
    position=Position(42),
    workspace_id=PLACE.workspace_id,
    workspace_sequence=7,
    stream_id=CUSTOMER,
    stream_version=PLACE.stream_version,
    event_id=UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d22"),
    command_id=UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d23"),
    type=PLACE.type,
    schema_version=PLACE.schema_version,
    data_key_id=UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d24"),
    payload=b"\x00sealed\xff",
    metadata=b'{"api_key_id":"k"}',
    recorded_at=datetime(2026, 3, 3, 9, 30, 0, 123456, tzinfo=UTC),
    digest=b"",
    chain=b"",
)
PUBLIC_URL = "https://customers.example.com"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACED = msgspec.structs.replace(EVENT, metadata=b'{"traceparent":"%b"}' % TRACEPARENT.encode())
ERASED = msgspec.structs.replace(EVENT, type="CustomerErased", data_key_id=None)


def written() -> dict[str, str]:
    """Every format as text, from today's code."""
    subject = jetstream.event_subject(1, 2, PLACE.workspace_id, CUSTOMER, "CustomerUpdated")
    metadata = Metadata(api_key_id="k", traceparent="00-1-2-01")
    return {
        "digest": event_digest(EVENT).hex(),
        "digest_without_key": event_digest(ERASED).hex(),
        "genesis": GENESIS.hex(),
        "chain": next_chain(GENESIS, event_digest(EVENT)).hex(),
        "place": PLACE.encoded().decode(),
        "metadata": msgspec.json.encode(metadata).decode(),
        "cloud_event": render_cloud_event(EVENT, b'{"customer":{}}', PUBLIC_URL).decode(),
        "cloud_event_traced": render_cloud_event(TRACED, b'{"customer":{}}', PUBLIC_URL).decode(),
        "trace_header": f"{jetstream.TRACE_HEADER}: {traceparent_of(TRACED)}",
        "subject": subject,
        "stream": jetstream.stream_name(1, 2),
        "headers": " ".join(
            (jetstream.POSITION_HEADER, jetstream.DIGEST_HEADER, jetstream.CHAIN_HEADER)
        ),
    }


@pytest.mark.parametrize("name", written())
def test_a_format_is_as_it_was_first_written(name: str) -> None:
    assert written()[name] == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def test_a_payload_sealed_long_ago_still_opens() -> None:
    key = DataKey(data_key_id=UUID(int=1), key=bytes(range(32)))
    sealed = bytes.fromhex((GOLDEN / "sealed.txt").read_text(encoding="utf-8").strip())

    assert open_payload(key, PLACE, sealed) == b'{"customer":{}}'


@pytest.mark.parametrize("event", [EVENT, ERASED], ids=["sealed", "clear"])
def test_postgres_computes_the_same_digest(database_url: str, event: StoredEvent) -> None:
    columns = [getattr(event, name) for name in StoredEvent.__struct_fields__[:-2]]
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT log.event_digest(%s::int4, %s, %s, %s, %s, %s::int4, %s, %s, %s, %s::int4, %s,"
            " %s, %s, %s)",
            columns,
        ).fetchone()

    assert row == (event_digest(event),)
