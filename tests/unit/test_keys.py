"""Sealed payloads open only in their place, with their key."""

import os

import msgspec
import pytest

from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.errors import CorruptEvent, KeyUnavailable
from events.keys import Keyring, PayloadBinding, open_payload, seal_payload
from runtime.ids import new_id
from runtime.settings import MasterKeys

PLACE = PayloadBinding(
    workspace_id=WorkspaceId("acme"),
    stream_id=CustomerId(new_id()),
    stream_version=StreamVersion(3),
    type="CustomerUpdated",
    schema_version=1,
)


def a_keyring(**keys: bytes) -> Keyring:
    """A keyring with these master keys, or one of its own; the first is the current one."""
    by_id = keys or {"k1": os.urandom(32)}
    return Keyring(MasterKeys(current=next(iter(by_id)), by_id=by_id))


def test_what_is_sealed_opens_again_after_wrapping() -> None:
    keyring = a_keyring()
    data_key, wrapped = keyring.make(PLACE.stream_id)

    sealed = seal_payload(data_key, PLACE, b"secret")

    assert b"secret" not in sealed
    assert open_payload(keyring.unwrap(wrapped), PLACE, sealed) == b"secret"


@pytest.mark.parametrize(
    "moved",
    [
        {"workspace_id": WorkspaceId("globex")},
        {"stream_id": CustomerId(new_id())},
        {"stream_version": StreamVersion(4)},
        {"type": "CustomerCreated"},
        {"schema_version": 2},
    ],
)
def test_a_payload_that_was_moved_does_not_open(moved: dict[str, object]) -> None:
    data_key, _ = a_keyring().make(PLACE.stream_id)
    sealed = seal_payload(data_key, PLACE, b"secret")

    with pytest.raises(CorruptEvent):
        open_payload(data_key, msgspec.structs.replace(PLACE, **moved), sealed)


def test_a_changed_byte_is_noticed() -> None:
    data_key, _ = a_keyring().make(PLACE.stream_id)
    sealed = bytearray(seal_payload(data_key, PLACE, b"secret"))
    sealed[-1] ^= 1

    with pytest.raises(CorruptEvent):
        open_payload(data_key, PLACE, bytes(sealed))


def test_old_master_keys_still_unwrap_and_a_missing_one_is_named() -> None:
    old, new = os.urandom(32), os.urandom(32)
    _, wrapped = a_keyring(old=old).make(PLACE.stream_id)

    assert len(a_keyring(new=new, old=old).unwrap(wrapped).key) == 32
    with pytest.raises(KeyUnavailable, match="'old'"):
        a_keyring(new=new).unwrap(wrapped)
    with pytest.raises(KeyUnavailable):
        a_keyring(old=new).unwrap(wrapped)


def test_a_wrapped_key_belongs_to_one_customer() -> None:
    keyring = a_keyring()
    _, wrapped = keyring.make(PLACE.stream_id)

    with pytest.raises(KeyUnavailable):
        keyring.unwrap(msgspec.structs.replace(wrapped, stream_id=CustomerId(new_id())))


def test_a_data_key_never_shows_in_its_repr() -> None:
    data_key, _ = a_keyring().make(PLACE.stream_id)

    assert repr(data_key.key) not in repr(data_key)


def test_a_secret_opens_for_its_log_and_name_only() -> None:
    keyring = a_keyring()
    secret = keyring.make_secret(1, "receipts")

    assert len(keyring.unwrap_secret(1, secret)) == 32
    with pytest.raises(KeyUnavailable):
        keyring.unwrap_secret(2, secret)
    with pytest.raises(KeyUnavailable):
        keyring.unwrap_secret(1, msgspec.structs.replace(secret, name="other"))
