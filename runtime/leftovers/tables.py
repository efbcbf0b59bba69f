"""A value looked for in every table, by SQL: what Postgres compressed is seen too."""

from collections.abc import Callable
from typing import Final

import psycopg
from msgspec import Struct
from psycopg import Connection, sql
from psycopg.rows import TupleRow, args_row

from runtime.leftovers.needles import Finder, Needle
from runtime.leftovers.report import Report, Searched, Unsearched, in_bytes

# Every table with something in it, whoever made it; partitions for themselves.
_TABLES: Final = """
SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attnum)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname NOT LIKE 'pg\\_toast%'
 GROUP BY 1, 2 ORDER BY 1, 2
"""
# What the planner knows of columns, values of rows that are gone among them.
_STATISTICS: Final = """
COPY (SELECT schemaname, tablename, attname, most_common_vals::text, histogram_bounds::text,
             most_common_elems::text
        FROM pg_catalog.pg_stats) TO STDOUT
"""


class Table(Struct, frozen=True):
    """A table and its columns."""

    schema: str
    name: str
    columns: list[str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def search_tables(
    connection: Connection[TupleRow],
    report: Report,
    needles: list[Needle],
    gone: Callable[[str], str],
    advance: Callable[[int], None],
) -> None:
    """Look through every table and the statistics; names column by column where a value stands."""
    with connection.cursor(row_factory=args_row(Table)) as cursor:
        tables = cursor.execute(_TABLES).fetchall()
    size = 0
    for table in tables:
        try:
            size += _search(connection, report, needles, table, gone(table.schema), advance)
        except psycopg.errors.InsufficientPrivilege:
            report.unsearched.append(
                Unsearched(
                    place=f"table {table}",
                    reason="the user of CUSTOMERS_DATABASE_URL may not read it",
                    try_next="CUSTOMERS_DATABASE_URL with the user who ran `customers migrate`",
                )
            )
        except psycopg.errors.UndefinedTable:
            # It was dropped while we looked.
            continue
    statistics = Finder(needles)
    size += _copy(connection, sql.SQL(_STATISTICS), statistics, advance)
    report.add(needles, statistics, "statistics of the planner", gone("pg_catalog"))
    report.searched.append(
        Searched(place="tables of the database", extent=f"{len(tables)} tables, {in_bytes(size)}")
    )


def _search(
    connection: Connection[TupleRow],
    report: Report,
    needles: list[Needle],
    table: Table,
    gone: str,
    advance: Callable[[int], None],
) -> int:
    finder = Finder(needles)
    size = _copy(connection, _content(table, table.columns), finder, advance)
    if not finder.found:
        return size
    known = len(report.findings)
    for column in table.columns:
        of_column = Finder(needles)
        _copy(connection, _content(table, [column]), of_column, lambda _: None)
        report.add(needles, of_column, f"table {table}.{column}", gone)
    if len(report.findings) == known:
        # It went while we looked, or lies across two columns: not to be passed over.
        report.add(needles, finder, f"table {table}", gone)
    return size


def _content(table: Table, columns: list[str]) -> sql.Composed:
    """All of it, as the server stores it but uncompressed."""
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(sql.Identifier(column) for column in columns),
        sql.Identifier(table.schema, table.name),
    )


def _copy(
    connection: Connection[TupleRow],
    query: sql.SQL | sql.Composed,
    finder: Finder,
    advance: Callable[[int], None],
) -> int:
    size, pending = 0, bytearray()
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in copy:
            pending += row
            if len(pending) >= 1024 * 1024:
                size += len(pending)
                advance(len(pending))
                finder.feed(bytes(pending))
                pending.clear()
    finder.feed(bytes(pending))
    finder.end()
    return size + len(pending)
