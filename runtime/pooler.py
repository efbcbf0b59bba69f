"""What a session must bring along behind a pooler in transaction mode.

There the settings that a client asks for at its start reach no server: they have to belong to the
login. Without them a process would work with the rights of its login, and might be told that a
write is durable before it is; so it insists.
"""

from typing import Final, LiteralString

import psycopg
import structlog
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

log = structlog.get_logger()

_ASK: Final[LiteralString] = """
SELECT session_user, current_database(), current_user = %(role)s,
       current_setting('synchronous_commit') IN ('on', 'remote_apply'),
       current_setting('TimeZone') = 'UTC'
"""


class NotOfTheRole(psycopg.OperationalError):
    """The login does not bring along what a session needs; the words are the statements."""


async def insist(connection: AsyncConnection[TupleRow], role: str) -> None:
    """Raise NotOfTheRole unless a session of this login has the role and is durable."""
    cursor = await connection.execute(_ASK, {"role": role})
    _judge(await cursor.fetchone(), role)


def insist_blocking(connection: Connection[TupleRow], role: str) -> None:
    """As `insist`."""
    _judge(connection.execute(_ASK, {"role": role}).fetchone(), role)


def _judge(found: TupleRow | None, role: str) -> None:
    assert found is not None, "a row without a table"  # noqa: S101 - a type guard
    login, database, *is_right = found
    if all(is_right):
        return
    missing = (f"role = {role}", "synchronous_commit = on", "timezone = 'UTC'")
    changes = [
        f'ALTER ROLE "{login}" IN DATABASE "{database}" SET {setting};'
        for setting, is_there in zip(missing, is_right, strict=True)
        if not is_there
    ]
    words = (
        f"Sessions of {login} lack what a pooler does not pass on. As the owner: "
        f"{' '.join(changes)} Then have the pooler connect anew (RECONNECT)."
    )
    # Whoever waits for a database tells no more of it than that it is away.
    log.error("postgres.login_lacks", words=words)
    raise NotOfTheRole(words)
