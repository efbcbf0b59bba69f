"""Where the data of one person is held, and what for, in words; named as erasure receipts do."""

import msgspec
from msgspec import Struct

from events.document import CustomerDocument
from events.envelope import StoredEvent
from events.jetstream import SUBJECT


class Held(Struct, frozen=True, kw_only=True):
    """One place where the person is known."""

    where: str
    what: str
    purpose: str
    ids: tuple[str, ...]
    """By which the person's data is found there."""


def places_of(newest: StoredEvent, document: bytes, *, is_deleted: bool) -> list[Held]:
    """The places of a customer, by its newest event and its document."""
    customer_id = str(newest.stream_id)
    places = [
        Held(
            where="log",
            what="Every event below; what it says of the person is encrypted with a key of the "
            "person's own. Kept until the person is erased.",
            purpose="The record that everything else is made from, and the proof of who changed "
            "what.",
            ids=(customer_id,),
        ),
        Held(
            where="data_key",
            what="The key that those events are encrypted with, itself encrypted.",
            purpose="Without it the events cannot be read: it is what an erasure destroys.",
            ids=() if newest.data_key_id is None else (str(newest.data_key_id),),
        ),
        Held(
            where="jetstream",
            what="A copy of each of these events, by the same event ids.",
            purpose="Programs that follow what happens to customers read it.",
            ids=(_subject_of(newest),),
        ),
        Held(
            where="idempotency",
            what="For a few days after a write with an Idempotency-Key: a keyed hash of what was "
            "sent, the customer's id and version.",
            purpose="A write that is sent twice is done once.",
            ids=(customer_id,),
        ),
        Held(
            where="accesses",
            what="The accesses below: the customer's id, and who read when.",
            purpose="It can be told who read a history or an export.",
            ids=(customer_id,),
        ),
        Held(
            where="backups",
            what="Copies of the above that were made earlier, until they expire.",
            purpose="The service can be restored after a loss.",
            ids=(customer_id,),
        ),
    ]
    return places if is_deleted else [*places, *_of_a_live_one(customer_id, document)]


def _of_a_live_one(customer_id: str, document: bytes) -> list[Held]:
    places = [
        Held(
            where="read_model",
            what="`customer` as it stands here, and its words and tags to be searched for.",
            purpose="The customer is shown, listed and found.",
            ids=(customer_id,),
        )
    ]
    external_id = msgspec.json.decode(document, type=CustomerDocument).external_id
    if external_id is not None:
        places.append(
            Held(
                where="external_id",
                what="The reservation of the external_id.",
                purpose="No other customer of the workspace gets the same one.",
                ids=(external_id,),
            )
        )
    return places


def _subject_of(newest: StoredEvent) -> str:
    return SUBJECT.format(
        log=newest.log_id,
        generation="*",
        workspace=newest.workspace_id,
        partition=f"{newest.stream_id.bytes[-1]:02x}",
        action="*",
    )
