"""Everything that is known of one person, in the API's OpenAPI document."""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from events import codec
from events.customer import EVENT_TYPES
from events.examples import EXAMPLES, example_customer, example_event
from query_side.held import Held, places_of
from query_side.personal_data import About, AccessesToAll, AccessToPerson, PersonalEvent
from query_side.personal_data_routes import MESSAGE
from runtime.clock import format_time
from runtime.readable import Json
from runtime.web.openapi.kit import (
    EXAMPLE_ID,
    Answer,
    Operation,
    described,
    link,
    ref,
    success_example,
    success_schema,
)
from runtime.web.openapi.parameters import parameter_refs

_KEY_ID: Final = UUID("01939c2e-7a00-7c11-b5d2-6f0f4e1d2c3b")
_KEY_NAME: Final = "web shop"
_STORED: Final = replace(
    example_event("CustomerCreated", "").stored,
    data_key_id=UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d1f"),
)
_JANE: Final = msgspec.json.encode(example_customer(EXAMPLE_ID))
_TIME: Final[Json] = {"type": "string", "format": "date-time"}
_ANY_OBJECT: Final[Json] = {"type": "object"}


class _Written(About, frozen=True, kw_only=True):
    """With the lists that are written behind it, piece by piece."""

    accesses: list[AccessToPerson]
    events: list[PersonalEvent]


def _example() -> dict[str, object]:
    """What is known of the customer of the examples."""
    time = format_time(_STORED.recorded_at)
    event = PersonalEvent(
        version=_STORED.stream_version,
        sequence=_STORED.workspace_sequence,
        type=_STORED.type,
        schema_version=_STORED.schema_version,
        time=time,
        event_id=_STORED.event_id,
        command_id=_STORED.command_id,
        api_key_id=_KEY_ID,
        api_key_name=_KEY_NAME,
        metadata=Raw(_STORED.metadata),
        data=Raw(codec.encode(EXAMPLES[EVENT_TYPES[_STORED.type]])),
    )
    written = _Written(
        made_at=time,
        customer_id=UUID(EXAMPLE_ID),
        workspace=_STORED.workspace_id,
        status="live",
        version=_STORED.stream_version,
        customer=Raw(_JANE),
        held_in=places_of(_STORED, _JANE, is_deleted=False),
        accesses_to_all=[
            AccessesToAll(
                action="as_of",
                api_key_id=_KEY_ID,
                api_key_name=_KEY_NAME,
                count=2,
                first_at=time,
                last_at=time,
            )
        ],
        accesses=[
            AccessToPerson(time=time, action="history", api_key_id=_KEY_ID, api_key_name=_KEY_NAME)
        ],
        events=[event],
    )
    return msgspec.json.decode(msgspec.json.encode(written))


PERSONAL_SCHEMAS: Final[dict[str, Json]] = {
    "HeldPlace": described(
        Held,
        "A place where the person is known.",
        where={"description": "Which one. There may be new ones."},
        ids={"description": "By which the person's data is found there."},
    ),
    "AccessToPerson": described(
        AccessToPerson,
        "An access that named the customer.",
        time=_TIME,
        action={"description": "There may be new ones.", "examples": ["history", "export"]},
        api_key_id={"description": "Null: an operator of the service."},
    ),
    "AccessesToAll": described(
        AccessesToAll,
        "Accesses to all customers of the workspace at once, in one way and with one key.",
        action={"description": "There may be new ones.", "examples": ["as_of", "export"]},
        api_key_id={"description": "Null: an operator of the service."},
        count={"minimum": 1},
        first_at=_TIME,
        last_at=_TIME,
    ),
    "PersonalEvent": described(
        PersonalEvent,
        "An event with all that is stored of it.",
        type={"description": "There may be new ones.", "examples": ["CustomerUpdated"]},
        version={"minimum": 1},
        sequence={"minimum": 1, "description": "Its place among the events of the workspace."},
        time=_TIME,
        event_id={"description": "The `id` of the event in `GET /events`."},
        command_id={"description": "The same for all events of one write."},
        metadata=_ANY_OBJECT | {"description": "What else is kept of the request."},
        data={
            "type": ["object", "null"],
            "description": "As it is stored; its JSON Schema is at "
            "`/schemas/<type>/<schema_version>`. Null when the person was erased meanwhile.",
        },
    ),
    "PersonalData": described(
        _Written,
        "Everything that is known of one person.",
        made_at=_TIME,
        status={"type": "string", "examples": ["live", "deleted"]},
        version={"minimum": 1, "description": "The newest one."},
        customer=ref("Customer") | {"type": "object"},
        held_in={"type": "array", "items": ref("HeldPlace")},
        accesses_to_all={"type": "array", "items": ref("AccessesToAll")},
        accesses={"type": "array", "items": ref("AccessToPerson")},
        events={"type": "array", "items": ref("PersonalEvent")},
    ),
    "PersonalDataAnswer": success_schema(ref("PersonalData"), ref("Meta")),
}

PERSONAL_OPERATIONS: Final[dict[str, Operation]] = {
    "get_personal_data": Operation(
        tag="Customers",
        description="For a person's own request for access (GDPR, Art. 15), as a file that "
        "explains itself: the customer, also a deleted one, every event with all its data, where "
        "all that is held and what for, and who read it. Streamed, however long it is: what breaks "
        "off before its end is not all. That it was asked for is recorded.",
        parameters=parameter_refs("customer_id", "history.consistency", "feed.token", "Prefer"),
        answers={
            200: Answer(
                description=MESSAGE,
                schema=ref("PersonalDataAnswer"),
                examples={"known": success_example(MESSAGE, _example())},
                headers=("Content-Disposition", "Preference-Applied"),
                links={
                    "history": link(
                        "get_history",
                        "What changed, field by field.",
                        {"customer_id": "$request.path.customer_id"},
                    )
                },
            )
        },
        failures=(
            *("malformed_id", "customer_not_found", "customer_erased", "lost_history"),
            "access_not_recorded",
        ),
    ),
}
