"""Events that the read model cannot take: the customer is parked, and an operator tries again."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from psycopg import sql

from runtime.postgres import connect_as_owner
from tests.faults.faults import Fault, register
from tests.faults.operators import operate
from tests.faults.system import System
from tests.support.signals import until

_NAME: Final = "van dyk"
"""A last name that clients give their customers, as it is folded."""
_LIVE: Final = "SELECT edition FROM projections.list_editions() WHERE live"
_REFUSE: Final = """
ALTER TABLE {edition}.customers ADD CONSTRAINT poison CHECK (last_name_key <> {name}) NOT VALID
"""
_TAKE: Final = "ALTER TABLE {edition}.customers DROP CONSTRAINT poison"


def _alter(system: System, change: str) -> None:
    with connect_as_owner(system.settings, "faults poison") as owner:
        row = owner.execute(_LIVE).fetchone()
        assert row is not None
        known = {"edition": sql.Identifier(f"edition_{row[0]}"), "name": sql.Literal(_NAME)}
        owner.execute(sql.SQL(change).format(**known))  # pyright: ignore[reportArgumentType] - of literals above


async def _is_told(system: System) -> bool:
    """Whether an operator sees the customers, as `customers projections failures` names them."""
    ran = await operate(system, "projections", "failures", "--json")
    return ran.returncode == 1 and bool(json.loads(ran.stdout))


@asynccontextmanager
async def _refused(system: System) -> AsyncGenerator[None]:
    """The read model refuses every customer of one name, until an operator has it try again."""
    system.parks = True
    await asyncio.to_thread(_alter, system, _REFUSE)
    try:
        yield
        await until(lambda: _is_told(system))
    finally:
        await asyncio.to_thread(_alter, system, _TAKE)
        ran = await operate(system, "projections", "retry")
        assert ran.returncode == 0, ran.stdout + ran.stderr


register(
    Fault(
        name="poison-customers",
        about="The read model cannot take some customers: they are parked, and tried again",
        inject=_refused,
        shortest=2.0,
        longest=8.0,
        is_alone=True,
    )
)
