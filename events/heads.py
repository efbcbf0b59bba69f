"""Signed heads: what the service vouched for, so that whoever keeps one can prove a rewrite.

A head is one JSON object: `log`, `generation`, `forked_at` (the last position that this generation
shares with the one before; 0 in the first), `position`, `chain` (the chain there, hex),
`tree_size` (the same number as the position), `root` (of the Merkle tree over the digests, hex),
`time` (RFC 3339, UTC), `key` (the id of the signing key) and `signature` (base64).

What is signed, by Ed25519, is text in UTF-8: the line `customers head 1`, then the values of all
these members but the signature in this order, numbers in decimal, each on a line that ends in LF.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct, structs

from events.errors import EventsError

FORMAT: Final = "customers head 1"

Hash: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Meta(ge=0)]

PublicKeys: TypeAlias = Mapping[str, Ed25519PublicKey]
"""Public keys by the id that stands in a head."""


class NotAHead(EventsError):
    """Bytes that are no signed head."""


class SignedHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The end of a log at some time, as the service signed it."""

    log: int
    generation: Count
    forked_at: Count
    position: Count
    chain: Hash
    tree_size: Count
    root: Hash
    time: str
    key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        values = [getattr(self, name) for name in self.__struct_fields__ if name != "signature"]
        return "".join(f"{value}\n" for value in (FORMAT, *values)).encode()

    def encoded(self) -> bytes:
        """The head as one line of JSON."""
        return msgspec.json.encode(self)

    @property
    def words(self) -> str:
        """The head, named for a person."""
        return f"the head of {self.time} (position {self.position}, key {self.key})"


EXAMPLE_HEAD: Final = SignedHead(
    log=1,
    generation=1,
    forked_at=0,
    position=4711,
    chain="0f2d5b64e0cd1f4a6a2c0f6ad9f8a4b7f2ac2b8f2a6d0e1c3b5a79880f1e2d3c",
    tree_size=4711,
    root="9c1e0b3d5f7a92846c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d",
    time="2026-03-03T09:30:00.000000Z",
    key="20260101-3f9a",
    signature="bm90IGEgc2lnbmF0dXJlLCBvbmx5IGFuIGV4YW1wbGUgb2YgaG93IG9uZSBsb29rcyBsaWtlIGluIGl0IQ==",
)
"""What a head looks like."""


class Fork(NamedTuple):
    """A generation of the log, and the last position it shares with the one before."""

    generation: int
    forked_at: int


class Signer:
    """Signs heads with one key."""

    def __init__(self, key_id: str, seed: bytes) -> None:
        self._key_id = key_id
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, head: SignedHead) -> SignedHead:
        """The head with this key and its signature."""
        head = structs.replace(head, key=self._key_id, signature="")
        signature = base64.b64encode(self._key.sign(head.signed_bytes())).decode()
        return structs.replace(head, signature=signature)


def read_head(line: bytes | str) -> SignedHead:
    """A head from its JSON; raises NotAHead."""
    try:
        return msgspec.json.decode(line, type=SignedHead)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAHead(f"not a signed head: {error}") from error


def fault_of_signature(head: SignedHead, keys: PublicKeys) -> str | None:
    """Why a head is not to be believed, in words; None when one of these keys signed it."""
    key = keys.get(head.key)
    if key is None:
        return f"is signed by {head.key!r}, which is none of the keys at hand"
    try:
        key.verify(base64.b64decode(head.signature, validate=True), head.signed_bytes())
    except (InvalidSignature, binascii.Error):
        return f"is not what {head.key} signed"
    if head.tree_size != head.position:
        return "has a tree of another size than the log"
    return None


def public_keys(raw: Mapping[str, bytes]) -> PublicKeys:
    """Keys from their 32 bytes."""
    return {name: Ed25519PublicKey.from_public_bytes(key) for name, key in raw.items()}


def public_bytes(seed: bytes) -> bytes:
    """The 32 bytes of the public key of a seed."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return public.public_bytes_raw()


def public_pem(raw: bytes) -> str:
    """A public key as OpenSSL reads it."""
    encoded = Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode()


def binding_until(generation: int, forks: Iterable[Fork]) -> int | None:
    """The last position of a generation that is still history; None when all of it is."""
    later = [fork.forked_at for fork in forks if fork.generation > generation]
    return min(later, default=None)


def is_binding(head: SignedHead, forks: Iterable[Fork]) -> bool:
    """Whether the log of today must agree with a head, or has forked before it."""
    until = binding_until(head.generation, forks)
    return until is None or head.position <= until


def fault_of_log(head: SignedHead, log_id: int) -> str | None:
    """Why a head says nothing of this log, in words."""
    return None if head.log == log_id else f"is of log {head.log}"


def fault_of_generation(head: SignedHead, forks: Sequence[Fork]) -> str | None:
    """What contradicts a head in the generations of the log, in words."""
    known = {1: 0} | {fork.generation: fork.forked_at for fork in forks}
    if head.generation not in known:
        return f"is of generation {head.generation}, which the log does not know"
    if known[head.generation] != head.forked_at:
        return (
            f"says that generation {head.generation} begins behind position {head.forked_at}, the "
            f"log says {known[head.generation]}"
        )
    return None
