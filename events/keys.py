"""Data keys, one per customer: made, wrapped by a master key, used to seal payloads.

The secrets of a log itself are wrapped the same way.

AES-256-GCM throughout; a sealed text is the byte 1 for this format, a random nonce of 12 bytes,
then ciphertext and tag. What is authenticated beside a payload binds it to its event, so that no
payload can be moved to another.
"""

import os
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct
from msgspec.structs import replace

from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.errors import CorruptEvent, KeyUnavailable
from runtime.ids import new_id
from runtime.settings import MasterKeys

_FORMAT: Final = b"\x01"
_NONCE_BYTES: Final = 12


class DataKey(Struct, frozen=True, kw_only=True):
    """A customer's key in clear: never stored, never logged."""

    data_key_id: UUID
    key: bytes

    def __repr__(self) -> str:
        return f"DataKey({self.data_key_id})"


class WrappedKey(Struct, frozen=True, kw_only=True):
    """A customer's key as it is stored."""

    data_key_id: UUID
    stream_id: CustomerId
    master_key_id: str
    wrapped: bytes


class WrappedSecret(Struct, frozen=True, kw_only=True):
    """A secret of a log itself, as it is stored."""

    name: str
    master_key_id: str
    wrapped: bytes


class Keyring:
    """Makes and unwraps keys and secrets with the master keys of the settings."""

    def __init__(self, master_keys: MasterKeys) -> None:
        self._current = master_keys.current
        self._ciphers = {name: AESGCM(key) for name, key in master_keys.by_id.items()}

    def make(self, stream_id: CustomerId) -> tuple[DataKey, WrappedKey]:
        """A new data key for a customer, in clear and wrapped by the current master key."""
        data_key = DataKey(data_key_id=new_id(), key=os.urandom(32))
        bound = _binding(data_key.data_key_id, stream_id)
        return data_key, WrappedKey(
            data_key_id=data_key.data_key_id,
            stream_id=stream_id,
            master_key_id=self._current,
            wrapped=self._wrap(data_key.key, bound),
        )

    def unwrap(self, wrapped: WrappedKey) -> DataKey:
        """The data key in clear; raises KeyUnavailable when its master key is not at hand."""
        bound = _binding(wrapped.data_key_id, wrapped.stream_id)
        key = self._unwrap(wrapped.master_key_id, wrapped.wrapped, bound)
        return DataKey(data_key_id=wrapped.data_key_id, key=key)

    @property
    def current(self) -> str:
        """The id of the master key that wraps what is new."""
        return self._current

    def rewrap(self, wrapped: WrappedKey) -> WrappedKey:
        """The same data key, wrapped by the current master key; raises KeyUnavailable."""
        key = self.unwrap(wrapped).key
        bound = _binding(wrapped.data_key_id, wrapped.stream_id)
        return replace(wrapped, master_key_id=self._current, wrapped=self._wrap(key, bound))

    def rewrap_secret(self, log_id: int, secret: WrappedSecret) -> WrappedSecret:
        """The same secret, wrapped by the current master key; raises KeyUnavailable."""
        clear = self.unwrap_secret(log_id, secret)
        wrapped = self._wrap(clear, _secret_binding(log_id, secret.name))
        return replace(secret, master_key_id=self._current, wrapped=wrapped)

    def has(self, master_key_id: str) -> bool:
        """Whether a master key is at hand."""
        return master_key_id in self._ciphers

    def make_secret(self, log_id: int, name: str) -> WrappedSecret:
        """A new random secret of a log, wrapped by the current master key."""
        return WrappedSecret(
            name=name,
            master_key_id=self._current,
            wrapped=self._wrap(os.urandom(32), _secret_binding(log_id, name)),
        )

    def unwrap_secret(self, log_id: int, secret: WrappedSecret) -> bytes:
        """The secret in clear; raises KeyUnavailable when its master key is not at hand."""
        bound = _secret_binding(log_id, secret.name)
        return self._unwrap(secret.master_key_id, secret.wrapped, bound)

    def _wrap(self, clear: bytes, bound: bytes) -> bytes:
        return _seal(self._ciphers[self._current], clear, bound)

    def _unwrap(self, master_key_id: str, wrapped: bytes, bound: bytes) -> bytes:
        cipher = self._ciphers.get(master_key_id)
        if cipher is None:
            raise KeyUnavailable(master_key_id)
        try:
            return _open(cipher, wrapped, bound)
        except InvalidTag as error:
            raise KeyUnavailable(master_key_id) from error


class PayloadBinding(Struct, frozen=True, kw_only=True):
    """Where a payload belongs. The position is not part of it: it is unknown when sealing."""

    workspace_id: WorkspaceId
    stream_id: CustomerId
    stream_version: StreamVersion
    type: str
    schema_version: int

    def encoded(self) -> bytes:
        """The bytes that are authenticated beside the payload."""
        # An id is spelled by msgspec, in a fifth of the time.
        return "\n".join(
            (
                "customers/1",
                self.workspace_id,
                msgspec.to_builtins(self.stream_id),
                str(self.stream_version),
                self.type,
                str(self.schema_version),
            )
        ).encode()


def seal_payload(data_key: DataKey, binding: PayloadBinding, payload: bytes) -> bytes:
    """Encrypt a payload and bind it to where it belongs."""
    return _seal(AESGCM(data_key.key), payload, binding.encoded())


def open_payload(data_key: DataKey, binding: PayloadBinding, sealed: bytes) -> bytes:
    """Decrypt a payload; raises CorruptEvent when it was not sealed with this binding."""
    try:
        return _open(AESGCM(data_key.key), sealed, binding.encoded())
    except InvalidTag as error:
        raise CorruptEvent(
            f"The payload of {binding.type} version {binding.stream_version} of customer "
            f"{binding.stream_id} fails authentication: it was changed or moved after it was "
            "written."
        ) from error


def _seal(cipher: AESGCM, clear: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return _FORMAT + nonce + cipher.encrypt(nonce, clear, bound)


def _open(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    if sealed[:1] != _FORMAT:
        raise InvalidTag
    nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    return cipher.decrypt(nonce, ciphertext, bound)


def _binding(data_key_id: UUID, stream_id: CustomerId) -> bytes:
    return b"customers/1/key" + data_key_id.bytes + stream_id.bytes


def _secret_binding(log_id: int, name: str) -> bytes:
    return f"customers/1/secret\n{log_id}\n{name}".encode()
