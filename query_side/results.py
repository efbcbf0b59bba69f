"""What the read model finds, and how fresh that is."""

from typing import TypeVar

from msgspec import Struct

from events.envelope import Position


class Found(Struct, frozen=True, kw_only=True):
    """How fresh a finding is."""

    checkpoint: Position
    """The last position that it shows."""
    newest: Position
    """The newest position of the workspace, in the same snapshot."""
    parked: bool
    """Whether events that it is about could not be applied."""


FoundT = TypeVar("FoundT", bound=Found)


class FoundCustomer(Found, frozen=True, kw_only=True):
    """One customer as finished JSON; None when the workspace has none of this id."""

    document: bytes | None
    version: int | None
    erased: bool = False
    """Whether the workspace had it, and it was erased."""


class CustomerPage(Found, frozen=True, kw_only=True):
    """A page of customers as finished JSON documents joined by commas."""

    documents: bytes
    total: int
    total_is_bound: bool
    """Whether there are more matches than `total`."""
    next_place: tuple[str | None, ...] | None
    """The place of the last customer of the page; None when none follows."""


class TagPage(Found, frozen=True, kw_only=True):
    """A page of tags, each with the number of customers that carry it."""

    tags: list[tuple[str, int]]
    total: int
