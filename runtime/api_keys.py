"""Workspaces and API keys: issue, hash, look up, restrict, rotate, revoke.

A key is 256 random bits, kept only as its SHA-256: there is nothing to guess, so a slow or salted
hash would protect nothing. Looking it up by that hash is also safe against timing: what an answer's
time could tell is how far two hashes agree, and nobody can choose a hash, only a key.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg.rows import TupleRow, args_row

from runtime.failure import Failure
from runtime.ids import new_id
from runtime.key_rules import check_name, check_scopes, check_workspace, next_scopes

# 32 bytes, as base64 without padding: 43 characters.
_KEY = re.compile(r"sk_(?:live|test)_[A-Za-z0-9_-]{32,128}")


class Principal(Struct, frozen=True, kw_only=True):
    """Who calls, by a key valid now; `workspace_id` is its data space (`acme` or `acme_test`)."""

    key_id: UUID
    name: str
    workspace_id: str
    scopes: frozenset[str]
    expires_at: datetime | None

    def may(self, scope: str) -> bool:
        """Whether the key has the scope; a key without any scope has full access."""
        return not self.scopes or scope in self.scopes


class NewKey(Struct, frozen=True, kw_only=True):
    """A key just made: the only moment at which its text is known."""

    key_id: UUID
    key: str
    expires_at: datetime | None


class ApiKey(Struct, frozen=True):
    """What is known of a key later: all but the key."""

    key_id: UUID
    workspace_id: str
    test: bool
    name: str
    scopes: list[str]
    hint: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    rotated_from: UUID | None
    state: str  # valid, expired or revoked, by the clock of the database


class Workspace(Struct, frozen=True):
    """A tenant, and how many of its keys can be used now."""

    workspace_id: str
    created_at: datetime
    valid_keys: int
    leaving_at: datetime | None
    offboarded_at: datetime | None


_COLUMNS = """
SELECT key_id, workspace_id, test, name, scopes, hint, created_at, expires_at, revoked_at,
       rotated_from,
       CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
            WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'valid' END
FROM control.api_keys
"""
_LIST = _COLUMNS + (
    "WHERE %(workspace)s::text IS NULL OR workspace_id = %(workspace)s ORDER BY created_at, key_id"
)
_LOCKED = _COLUMNS + "WHERE key_id = %s FOR UPDATE"
_INSERT = """
INSERT INTO control.api_keys
    (key_id, workspace_id, test, name, scopes, hash, hint, expires_at, rotated_from)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# The successor lives as long as its predecessor was made for.
_SUCCESSOR_EXPIRY = """
SELECT clock_timestamp() + (expires_at - created_at) FROM control.api_keys WHERE key_id = %s
"""
# An overlap never lengthens the life of the old key.
_END_AFTER = """
UPDATE control.api_keys SET expires_at = least(expires_at, clock_timestamp() + %s) WHERE key_id = %s
"""
# Who lets the workspace leave waits for the key, and revokes it too.
_LEAVING = """
SELECT leaving_at IS NOT NULL FROM control.workspaces WHERE workspace_id = %s FOR SHARE
"""
_WORKSPACES = """
SELECT w.workspace_id, w.created_at, count(k.key_id) FILTER (
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())),
    w.leaving_at, w.offboarded_at
FROM control.workspaces w LEFT JOIN control.api_keys k USING (workspace_id)
GROUP BY w.workspace_id ORDER BY w.workspace_id
"""


def hash_key(key: str) -> bytes | None:
    """SHA-256 of a key as stored, or None when no key of ours can look like this."""
    if _KEY.fullmatch(key) is None:
        return None
    return hashlib.sha256(key.encode("ascii")).digest()


async def lookup(
    connection: psycopg.AsyncConnection[TupleRow], key_hash: bytes
) -> Principal | None:
    """Who has the key with this hash; None when it is unknown, revoked or expired."""
    cursor = await connection.execute(
        "SELECT key_id, name, workspace, scopes, expires_at FROM control.find_api_key(%s)",
        [key_hash],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    key_id, name, workspace, scopes, expires_at = row
    return Principal(
        key_id=key_id,
        name=name,
        workspace_id=workspace,
        scopes=frozenset(scopes),
        expires_at=expires_at,
    )


async def name_keys(
    connection: psycopg.AsyncConnection[TupleRow], workspace_id: str, key_ids: Iterable[UUID]
) -> dict[UUID, str]:
    """The names of these keys of a data space, usable or not; one that is no key has none."""
    cursor = await connection.execute(
        "SELECT key_id, name FROM control.name_api_keys(%s, %s)", [workspace_id, list(key_ids)]
    )
    return {key_id: name async for key_id, name in cursor}


def create_key(
    connection: psycopg.Connection[TupleRow],
    *,
    workspace: str,
    scopes: Iterable[str] = (),
    test: bool = False,
    name: str = "",
    expires_at: datetime | None = None,
) -> str:
    """Make a key, and its workspace when that is new; the text of the key, shown only now."""
    return issue_key(
        connection, workspace=workspace, scopes=scopes, test=test, name=name, expires_at=expires_at
    ).key


def issue_key(
    connection: psycopg.Connection[TupleRow],
    *,
    workspace: str,
    scopes: Iterable[str] = (),
    test: bool = False,
    name: str = "",
    expires_at: datetime | None = None,
) -> NewKey:
    """As `create_key`, with the new key's id; raises Failure for what cannot be."""
    check_workspace(workspace)
    wanted = check_scopes(scopes)
    label = check_name(name or ("test key" if test else "live key"))
    with connection.transaction():
        connection.execute(
            "INSERT INTO control.workspaces (workspace_id) VALUES (%s) ON CONFLICT DO NOTHING",
            [workspace],
        )
        leaving = connection.execute(_LEAVING, [workspace]).fetchone()
        if leaving == (True,):
            raise Failure(
                f"The workspace {workspace} has left or is leaving, and gets no key any more.",
                try_next=f"customers workspaces offboard {workspace}, which shows how far it is",
            )
        return _insert(connection, workspace, wanted, label, expires_at, test=test)


def list_keys(
    connection: psycopg.Connection[TupleRow], workspace: str | None = None
) -> list[ApiKey]:
    """The keys of one workspace, live and test, or of all; oldest first."""
    with connection.cursor(row_factory=args_row(ApiKey)) as cursor:
        return cursor.execute(_LIST, {"workspace": workspace}).fetchall()


def list_workspaces(connection: psycopg.Connection[TupleRow]) -> list[Workspace]:
    """Every workspace, by name."""
    with connection.cursor(row_factory=args_row(Workspace)) as cursor:
        return cursor.execute(_WORKSPACES).fetchall()


def change_scopes(
    connection: psycopg.Connection[TupleRow],
    key_id: UUID,
    *,
    only: Iterable[str] = (),
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    full_access: bool = False,
) -> list[str]:
    """Give a key other scopes; the scopes it has then, empty for full access."""
    with connection.transaction():
        key = _usable(connection, key_id)
        scopes = next_scopes(key.scopes, only=only, add=add, remove=remove, full_access=full_access)
        connection.execute(
            "UPDATE control.api_keys SET scopes = %s WHERE key_id = %s", [scopes, key_id]
        )
    return scopes


def rotate_key(
    connection: psycopg.Connection[TupleRow], key_id: UUID, overlap: timedelta
) -> NewKey:
    """A successor with the same rights; the old key stays valid for `overlap`, then expires."""
    with connection.transaction():
        key = _usable(connection, key_id)
        successor = connection.execute(
            "SELECT key_id FROM control.api_keys WHERE rotated_from = %s", [key_id]
        ).fetchone()
        if successor is not None:
            raise Failure(
                f"The key {key_id} was already rotated, to {successor[0]}.",
                try_next=f"customers keys rotate {successor[0]}",
            )
        expiry = connection.execute(_SUCCESSOR_EXPIRY, [key_id]).fetchone()
        new = _insert(
            connection,
            key.workspace_id,
            key.scopes,
            key.name,
            expiry[0] if expiry else None,
            test=key.test,
            rotated_from=key_id,
        )
        connection.execute(_END_AFTER, [overlap, key_id])
    return new


def revoke_key(connection: psycopg.Connection[TupleRow], key_id: UUID) -> bool:
    """End a key for good, now; False when it had been revoked before."""
    with connection.transaction():
        if _locked(connection, key_id).state == "revoked":
            return False
        connection.execute(
            "UPDATE control.api_keys SET revoked_at = clock_timestamp() WHERE key_id = %s", [key_id]
        )
    return True


def _insert(
    connection: psycopg.Connection[TupleRow],
    workspace: str,
    scopes: list[str],
    name: str,
    expires_at: datetime | None,
    *,
    test: bool,
    rotated_from: UUID | None = None,
) -> NewKey:
    kind = "sk_test_" if test else "sk_live_"
    secret = secrets.token_urlsafe(32)
    key = kind + secret
    key_id = new_id()
    digest = hashlib.sha256(key.encode("ascii")).digest()
    hint = f"{kind}{secret[:4]}…{secret[-4:]}"
    connection.execute(
        _INSERT,
        [key_id, workspace, test, name, scopes, digest, hint, expires_at, rotated_from],
    )
    return NewKey(key_id=key_id, key=key, expires_at=expires_at)


def _locked(connection: psycopg.Connection[TupleRow], key_id: UUID) -> ApiKey:
    with connection.cursor(row_factory=args_row(ApiKey)) as cursor:
        key = cursor.execute(_LOCKED, [key_id]).fetchone()
    if key is None:
        raise Failure(f"There is no key with the id {key_id}.", try_next="customers keys list")
    return key


def _usable(connection: psycopg.Connection[TupleRow], key_id: UUID) -> ApiKey:
    key = _locked(connection, key_id)
    if key.state != "valid":
        raise Failure(
            f"The key {key_id} is {key.state}; it cannot be changed any more.",
            try_next=f"customers keys create --workspace {key.workspace_id}",
        )
    return key
