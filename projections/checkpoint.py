"""How far an edition has come in a log; it moves only together with the rows."""

from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from events.envelope import Position


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The last position that an edition shows, of one log in one lineage."""

    edition: int
    log_id: int
    generation: int
    position: Position
    chain: bytes
    """First bytes of the log's chain at the position."""


class NoEdition(Exception):
    """There is no read model to write into or to read from."""

    def __init__(self) -> None:
        super().__init__("The database has no edition of the read model: run `customers migrate`.")


class ForeignReadModel(Exception):
    """The edition was made of a history that the log does not have."""

    def __init__(self, edition: int, position: Position) -> None:
        super().__init__(
            f"Edition {edition} of the read model stands at position {position} of another history "
            "than the log's: one of the two was restored alone. Build it anew: `customers rebuild`."
        )


async def find_live_edition(connection: AsyncConnection[TupleRow]) -> int:
    """The number of the edition that is read; raises NoEdition."""
    cursor = await connection.execute("SELECT projections.live_edition()")
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        raise NoEdition
    return int(row[0])


async def open_checkpoint(
    connection: AsyncConnection[TupleRow], edition: int, log_id: int
) -> Checkpoint:
    """Where an edition stands now, locked to the end of the transaction.

    A log that went on in a newer generation is followed. Raises ForeignReadModel.
    """
    query = sql.SQL("SELECT * FROM {}.open_checkpoint(%s)").format(schema_of(edition))
    cursor = await connection.execute(query, [log_id])
    row = await cursor.fetchone()
    if row is None:
        raise NoEdition
    generation, position, chain, belongs = row
    if not belongs:
        raise ForeignReadModel(edition, Position(position))
    return Checkpoint(
        edition=edition,
        log_id=log_id,
        generation=generation,
        position=Position(position),
        chain=bytes(chain),
    )


def schema_of(edition: int) -> sql.Identifier:
    """The schema that holds an edition."""
    return sql.Identifier(f"edition_{edition}")
