"""A customer of the past in its public form."""

from events.customer import CustomerErased
from events.document import render_document
from events.errors import CorruptEvent
from events.history import PastCustomer
from events.keys import Keyring
from events.reading import recorded


def past_document(keyring: Keyring, past: PastCustomer) -> bytes:
    """The customer as answers showed it then, or would again once it is restored.

    Raises CorruptEvent, KeyUnavailable.
    """
    event = recorded(keyring, past.keyed)
    if event.event is None or isinstance(event.event, CustomerErased):
        raise CorruptEvent(f"Event {event.position} was erased, and its customer was not.")
    return render_document(
        event.stream_id,
        event.stream_version,
        event.event.customer,
        created_at=past.created_at,
        updated_at=event.recorded_at,
    )
