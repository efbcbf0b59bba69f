"""Events, groups and commands with readable defaults."""

from uuid import UUID

from command_side.commands import CustomerChanges, Origin
from events import codec
from events.append import Group, NewReceipt, Reservation
from events.customer import CustomerCreated, CustomerData, CustomerErased, CustomerEvent
from events.envelope import CustomerId, NewEvent, StreamVersion, WorkspaceId
from events.keys import DataKey, Keyring, PayloadBinding, WrappedKey, seal_payload
from runtime.ids import new_id

ACME = WorkspaceId("acme")
GLOBEX = WorkspaceId("globex")

JANE = CustomerData(email="jane@example.com", first_name="Jane", tags=("vip",))


def an_origin(workspace_id: WorkspaceId = ACME) -> Origin:
    """A request of some workspace."""
    return Origin(workspace_id=workspace_id, actor="clerk", reason="because", request_id="r-1")


def some_changes(**fields: object) -> CustomerChanges:
    """Changes that make a valid customer, plus or instead the given ones."""
    given = {"email": "jane@example.com"} | fields
    return CustomerChanges(**given)  # pyright: ignore[reportArgumentType] - tests name the fields


def created(data: CustomerData = JANE) -> CustomerCreated:
    """The event that a customer was created."""
    return CustomerCreated(customer=data, changed_fields=("email",))


class Writer:
    """Makes groups for one workspace and remembers the data keys of its customers."""

    def __init__(self, keyring: Keyring, workspace_id: WorkspaceId = ACME) -> None:
        self.keyring = keyring
        self.workspace_id = workspace_id
        self._keys: dict[CustomerId, tuple[DataKey, WrappedKey]] = {}

    def a_customer(self) -> CustomerId:
        """A customer id with a data key."""
        customer_id = CustomerId(new_id())
        self._keys[customer_id] = self.keyring.make(customer_id)
        return customer_id

    def adopt(self, customer_id: CustomerId) -> None:
        """Write on for a customer that somebody else made, without its key: only to erase it."""
        self._keys[customer_id] = self.keyring.make(customer_id)

    def event(
        self, customer_id: CustomerId, version: int = 1, event: CustomerEvent | None = None
    ) -> NewEvent:
        """A sealed event of one customer."""
        happened = event or created()
        data_key, _ = self._keys[customer_id]
        place = PayloadBinding(
            workspace_id=self.workspace_id,
            stream_id=customer_id,
            stream_version=StreamVersion(version),
            type=codec.type_of(happened),
            schema_version=1,
        )
        payload = codec.encode(happened)
        is_clear = isinstance(happened, CustomerErased)
        return NewEvent(
            event_id=new_id(),
            stream_id=customer_id,
            stream_version=StreamVersion(version),
            type=place.type,
            schema_version=1,
            data_key_id=None if is_clear else data_key.data_key_id,
            payload=payload if is_clear else seal_payload(data_key, place, payload),
            metadata=b"{}",
        )

    def group(
        self,
        *events: NewEvent,
        takes: dict[str, CustomerId] | None = None,
        frees: dict[str, CustomerId] | None = None,
        receipt: bytes | None = None,
        command_id: UUID | None = None,
    ) -> Group:
        """A group of these events, with the keys of customers that begin in it."""
        return Group(
            workspace_id=self.workspace_id,
            command_id=command_id or new_id(),
            events=events,
            data_keys=tuple(
                self._keys[event.stream_id][1] for event in events if event.stream_version == 1
            ),
            takes=_reservations(takes),
            frees=_reservations(frees),
            receipt=NewReceipt(key_hmac=receipt, payload_hmac=b"payload", outcome=b'{"ids":[]}')
            if receipt
            else None,
        )

    def creation(self, external_id: str | None = None) -> Group:
        """A group that creates one customer."""
        customer_id = self.a_customer()
        takes = {external_id: customer_id} if external_id else None
        return self.group(self.event(customer_id), takes=takes)


def _reservations(names: dict[str, CustomerId] | None) -> tuple[Reservation, ...]:
    return tuple(
        Reservation(external_id=external_id, stream_id=holder)
        for external_id, holder in (names or {}).items()
    )
