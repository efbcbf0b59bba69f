"""The log of accesses: who read a history, an export or an erasure, or erased somebody.

An access is recorded, and committed, before anything is given: one that cannot be is refused. It
holds nothing of a person but the customer's id, and nothing that a client words.
"""

from collections.abc import Generator
from datetime import datetime
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg.rows import TupleRow, args_row

Action: TypeAlias = Literal[
    "history", "as_of", "export", "erasure", "receipt", "check", "replay", "state"
]


class Access(Struct, frozen=True, kw_only=True):
    """An access that is about to happen; the database adds the time and its own login."""

    action: Action
    workspace_id: str | None
    """The data space; None: all of them, as only an operator can ask."""
    customer_id: UUID | None = None
    """None: every customer of the workspace."""
    api_key_id: UUID | None = None
    """None: an operator's command."""


class RecordedAccess(Struct, frozen=True):
    """An access as it is kept."""

    accessed_at: datetime
    action: str
    workspace_id: str | None
    customer_id: UUID | None
    api_key_id: UUID | None
    api_key_name: str | None
    login: str


_RECORD: Final[LiteralString] = "SELECT control.record_access(%b, %b, %b::uuid, %b::uuid)"

_LIST: Final[LiteralString] = """
SELECT a.accessed_at, a.action, a.workspace_id, a.customer_id, a.api_key_id, k.name, a.login
  FROM control.accesses a LEFT JOIN control.api_keys k ON k.key_id = a.api_key_id
 WHERE (%(workspace)s::text IS NULL OR coalesce(a.workspace_id, %(workspace)s) = %(workspace)s)
   AND (%(customer)s::uuid IS NULL OR a.customer_id = %(customer)s)
   AND (%(since)s::timestamptz IS NULL OR a.accessed_at >= %(since)s)
 ORDER BY a.access_id
"""


async def record_access(connection: psycopg.AsyncConnection[TupleRow], access: Access) -> None:
    """Keep an access; raises psycopg.Error when it cannot be, and then nothing may be given.

    The connection commits by itself, or else the caller commits before it gives anything.
    """
    await connection.execute(
        _RECORD, [access.workspace_id, access.action, access.customer_id, access.api_key_id]
    )


def list_accesses(
    connection: psycopg.Connection[TupleRow],
    *,
    workspace: str | None = None,
    customer: UUID | None = None,
    since: datetime | None = None,
) -> Generator[RecordedAccess]:
    """The accesses that are kept, oldest first, read as they are asked for.

    An access to the data of all workspaces is one to each of them.
    """
    asked = {"workspace": workspace, "customer": customer, "since": since}
    # A cursor of the server's: there may be millions of them.
    with (
        connection.transaction(),
        connection.cursor("accesses", row_factory=args_row(RecordedAccess)) as cursor,
    ):
        yield from cursor.execute(_LIST, asked)
