"""Merkle trees as in RFC 6962 and RFC 9162: what proves that an event is in a log, and that one
log is the beginning of another.

A leaf is SHA-256(0x00 || digest of an event), a node SHA-256(0x01 || left || right), and the tree
over no leaf is SHA-256 of nothing. The tree over n > 1 leaves splits behind the largest power of
two below n. Leaf i is event i + 1 of the log, so the size of a tree is the position of its last
event. Nothing here reads anything: a proof is a list of spans of leaves, and the hash of each is
the caller's to find.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

EMPTY: Final = hashlib.sha256(b"").digest()
"""The root of the tree over nothing."""


class Span(NamedTuple):
    """The leaves from `first` up to but without `end`."""

    first: int
    end: int


def leaf_hash(digest: bytes) -> bytes:
    """The leaf of an event with this digest."""
    return hashlib.sha256(b"\x00" + digest).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that grows leaf by leaf; it keeps one hash for each bit of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Put one more leaf behind the others."""
        sha256, peaks = hashlib.sha256, self._peaks
        self.size += 1
        size = self.size
        # A loop of few steps: whoever checks a long log spends much of the time here.
        while not size & 1:
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        return join(self._peaks)


def join(peaks: Sequence[bytes]) -> bytes:
    """The root above complete trees that stand side by side, each larger than the next."""
    if not peaks:
        return EMPTY
    *others, root = peaks
    for peak in reversed(others):
        root = node_hash(peak, root)
    return root


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root above a power of two of hashes, all of one height."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[place], hashes[place + 1]) for place in range(0, len(hashes), 2)]
    return hashes[0]


def complete_spans(span: Span) -> Iterator[Span]:
    """The complete trees that a tree over this span consists of, the largest first."""
    first, end = span
    while first < end:
        size = 1 << ((end - first).bit_length() - 1)
        yield Span(first, first + size)
        first += size


def inclusion_proof(leaf: int, size: int) -> list[Span]:
    """Whose roots prove that a leaf is in the tree of this size, in the order of the RFC."""
    proof: list[Span] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if leaf < middle:
            proof.append(Span(middle, end))
            end = middle
        else:
            proof.append(Span(first, middle))
            first = middle
    return proof[::-1]


def consistency_proof(old: int, size: int) -> list[Span]:
    """Whose roots prove that the tree of size `old` is the beginning of the one of `size`."""
    proof: list[Span] = []
    first, end = 0, size
    while first + old < end:
        middle = first + _split(end - first)
        if first + old <= middle:
            proof.append(Span(middle, end))
            end = middle
        else:
            proof.append(Span(first, middle))
            old -= middle - first
            first = middle
    # The old tree as a whole needs no proof: whoever checks has its root.
    if first > 0:
        proof.append(Span(first, end))
    return proof[::-1]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof leads from a leaf to the root of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def is_consistent(
    old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether a proof leads to the roots of both trees (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == root
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    # A complete old tree is a node of the new one.
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    found_old = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            found_old, found = node_hash(sibling, found_old), node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found_old == old_root and found == root


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)
