"""Merkle trees are those of RFC 6962, whatever their size."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import merkle
from events.merkle import Span

# What implementations of Certificate Transparency are tested with, from transparency-dev/merkle on
# GitHub, testonly/constants.go: the leaves' data, and the roots of the trees over 0 to 8 of them.
LEAVES = (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def the_root(leaves: Sequence[bytes]) -> bytes:
    """The definition of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return hashlib.sha256(b"\x01" + the_root(leaves[:middle]) + the_root(leaves[middle:])).digest()


def the_leaves(size: int) -> list[bytes]:
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def roots_of(leaves: Sequence[bytes], spans: Sequence[Span]) -> list[bytes]:
    return [the_root(leaves[span.first : span.end]) for span in spans]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_that_certificate_transparency_publishes(size: int) -> None:
    tree = merkle.Frontier()
    for leaf in LEAVES[:size]:
        tree.add(merkle.leaf_hash(bytes.fromhex(leaf)))
    assert (tree.size, tree.root().hex()) == (size, ROOTS[size])


@given(size=st.integers(0, 300))
def test_a_tree_that_grows_has_the_root_of_its_definition(size: int) -> None:
    tree, leaves = merkle.Frontier(), the_leaves(size)
    for leaf in leaves:
        tree.add(leaf)
    spans = list(merkle.complete_spans(Span(0, size)))
    assert tree.root() == the_root(leaves)
    assert merkle.join([merkle.fold(leaves[first:end]) for first, end in spans]) == tree.root()


@given(st.data(), st.integers(1, 300))
def test_every_leaf_is_proven_to_be_where_it_is_and_nowhere_else(
    data: st.DataObject, size: int
) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaves = the_leaves(size)
    proof, root = roots_of(leaves, merkle.inclusion_proof(index, size)), the_root(leaves)

    assert merkle.is_included(leaves[index], index, size, proof, root)
    for elsewhere in {0, index - 1, index + 1, size - 1} - {index}:
        assert not merkle.is_included(leaves[index], elsewhere, size, proof, root)
    assert not merkle.is_included(leaves[index], index, size, [*proof, root], root)
    assert not merkle.is_included(leaves[index], index, size, proof, proof[0] if proof else b"")
    assert not merkle.is_included(root, index, size, proof, root) or size == 1


@given(st.data(), st.integers(1, 300))
def test_a_tree_is_proven_to_go_on_from_an_older_one_and_no_other_is(
    data: st.DataObject, size: int
) -> None:
    old = data.draw(st.integers(1, size))
    leaves = the_leaves(size)
    proof = roots_of(leaves, merkle.consistency_proof(old, size))
    old_root, root = the_root(leaves[:old]), the_root(leaves)

    assert merkle.is_consistent(old, size, old_root, root, proof)
    changed = data.draw(st.integers(0, old - 1))
    leaves[changed] = merkle.leaf_hash(b"changed")
    rewritten = roots_of(leaves, merkle.consistency_proof(old, size))
    for attempt in (proof, rewritten):
        assert not merkle.is_consistent(old, size, old_root, the_root(leaves), attempt)
    assert not merkle.is_consistent(old, size, old_root, root, [*proof, root])
    assert not proof or not merkle.is_consistent(old, size, old_root, root, proof[:-1])


def test_what_no_tree_can_have_is_no_proof() -> None:
    root = the_root(the_leaves(3))
    assert not merkle.is_included(root, 0, 0, [], root)
    assert not merkle.is_included(root, -1, 3, [], root)
    assert not merkle.is_consistent(0, 3, merkle.EMPTY, root, [])
    assert not merkle.is_consistent(4, 3, root, root, [])
    assert not merkle.is_consistent(3, 4, root, root, [])
