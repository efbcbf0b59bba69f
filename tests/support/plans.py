"""What Postgres did for a query: the plans of all statements below it, with their figures."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

import msgspec
from psycopg import Connection
from psycopg.errors import Diagnostic
from psycopg.rows import TupleRow

_AUTO_EXPLAIN = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_analyze = on;
SET auto_explain.log_timing = off;
SET auto_explain.log_format = 'json';
SET auto_explain.log_level = 'notice';
"""


class Plan(msgspec.Struct):
    """A node of a plan, with what it did."""

    node: str = msgspec.field(name="Node Type")
    index: str | None = msgspec.field(name="Index Name", default=None)
    relation: str | None = msgspec.field(name="Relation Name", default=None)
    rows: float = msgspec.field(name="Actual Rows", default=0)
    loops: float = msgspec.field(name="Actual Loops", default=0)
    filtered: float = msgspec.field(name="Rows Removed by Filter", default=0)
    rechecked: float = msgspec.field(name="Rows Removed by Index Recheck", default=0)
    children: list["Plan"] = msgspec.field(name="Plans", default_factory=list)


class _Explained(msgspec.Struct):
    plan: Plan = msgspec.field(name="Plan")


class Explained:
    """A connection that keeps the plans of what is asked over it."""

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self.connection = connection
        self._plans: list[Plan] = []
        connection.execute(_AUTO_EXPLAIN)
        connection.add_notice_handler(self._note)

    def ask(
        self, query: LiteralString, parameters: Sequence[object]
    ) -> tuple[list[TupleRow], list[Plan]]:
        """The rows of an answer, and the nodes of its plans."""
        self._plans.clear()
        rows = self.connection.execute(query, parameters).fetchall()
        return rows, [node for plan in self._plans for node in _nodes(plan)]

    def _note(self, diagnostic: Diagnostic) -> None:
        _, is_plan, text = (diagnostic.message_primary or "").partition("plan:\n")
        if is_plan:
            self._plans.append(msgspec.json.decode(text, type=_Explained).plan)


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.children:
        yield from _nodes(child)


def indexes(nodes: list[Plan]) -> set[str]:
    """The indexes that something was read from."""
    return {node.index for node in nodes if node.index is not None and node.loops > 0}


def kinds(nodes: list[Plan]) -> set[str]:
    """The kinds of nodes that did something to rows of tables."""
    return {node.node for node in nodes if node.loops > 0 and any(_nodes_of_tables(node))}


def _nodes_of_tables(node: Plan) -> Iterator[bool]:
    return (below.index is not None for below in _nodes(node))


def rows_read(nodes: list[Plan]) -> float:
    """The most rows that one node looked at in a table or an index."""
    return max(
        (node.rows + node.filtered + node.rechecked) * node.loops
        for node in nodes
        if node.index is not None or node.relation is not None
    )


def assert_no_scan(nodes: list[Plan]) -> None:
    """Nothing was read from end to end."""
    scanned = [node.relation for node in nodes if node.node == "Seq Scan" and node.loops > 0]
    assert scanned == []
