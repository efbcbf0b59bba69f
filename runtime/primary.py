"""Which of several Postgres servers is the primary now, also when an old one believes it still is.

libpq takes the first server that takes writes. After a failover that may be the old primary, back
from its crash and unaware. Its commits wait for a standby that left it, so none is ever answered,
but it shows what is no longer so. Each promotion begins a timeline: the newest is the right one.
Whoever is connected to another then is cut off, so that he asks again and finds the right one.
"""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final, LiteralString
from weakref import WeakSet

import psycopg
import structlog
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from runtime.tasks import end

# Who has been asked so lately is not asked again.
_FRESH_SECONDS: Final = 1.0
# So long the others are waited for when one is found, and all of them when none is.
_OTHERS_SECONDS: Final = 1.0
_ALL_SECONDS: Final = 3.0

# The timeline stands in the first eight digits of the name of a WAL file.
_TIMELINE: Final[LiteralString] = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END
"""

log = structlog.get_logger()


class NotPrimary(psycopg.OperationalError):
    """The server takes no writes: it is no primary, or no longer."""


class _Found(Struct, frozen=True, order=True):
    timeline: int
    place: tuple[str, str]
    """Host and port."""


class _Look(Struct, frozen=True):
    found: _Found
    at: float


# What this process has seen, by hosts and ports: it never goes back to an older timeline.
_seen: Final[dict[tuple[str, str], _Look]] = {}
_connected: Final[WeakSet[AsyncConnection[TupleRow]]] = WeakSet()


async def primary_of(conninfo: str) -> str:
    """The same address with the primary alone, if it names several servers and wants the primary.

    Raises psycopg.OperationalError when there is none on the newest timeline known.
    """
    given = conninfo_to_dict(conninfo)
    hosts, ports = str(given.get("host", "")), str(given.get("port", "5432"))
    if "," not in hosts or given.get("target_session_attrs") != "read-write":
        return conninfo
    known = _seen.get((hosts, ports))
    if known is None or _now() > known.at + _FRESH_SECONDS:
        found = await _find(conninfo, _places(hosts, ports))
        # Others have looked meanwhile, and may have seen the new one that this look missed.
        known = _seen.get((hosts, ports))
        if known is not None and found.timeline < known.found.timeline:
            raise NotPrimary("Only a primary from before the last failover answers.")
        if known is None or found != known.found:
            log.info("postgres.primary", host=found.place[0], port=found.place[1])
        if known is not None and found.timeline > known.found.timeline:
            _leave(_others(hosts, ports, found), list(_connected))
        known = _seen[hosts, ports] = _Look(found, _now())
    host, port = known.found.place
    return make_conninfo(conninfo, host=host, port=port)


def note_connection(connection: AsyncConnection[TupleRow]) -> None:
    """Remember a connection, so that it is cut off as soon as another server is the primary."""
    _connected.add(connection)
    # Which it may be since its address was found.
    for (hosts, ports), look in _seen.items():
        _leave(_others(hosts, ports, look.found), [connection])


def hang_up(connection: AsyncConnection[TupleRow]) -> None:
    """Break a connection as the network would, so that whoever waits for its answer is told."""
    with (
        suppress(OSError, psycopg.OperationalError),
        # A second handle of it: the first is closed by the driver, which still waits.
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def forget_primary() -> None:
    """Have the next who wants to know look again: the one that was found did not answer."""
    for key, look in _seen.items():
        _seen[key] = _Look(look.found, at=float("-inf"))


def _others(hosts: str, ports: str, found: _Found) -> list[tuple[str, str]]:
    return [place for place in _places(hosts, ports) if place != found.place]


def _leave(places: list[tuple[str, str]], connections: list[AsyncConnection[TupleRow]]) -> None:
    for connection in connections:
        if not connection.closed and _place_of(connection) in places:
            log.warning("postgres.left", host=connection.info.host, port=connection.info.port)
            hang_up(connection)


def _place_of(connection: AsyncConnection[TupleRow]) -> tuple[str, str]:
    return connection.info.host, str(connection.info.port)


def _places(hosts: str, ports: str) -> list[tuple[str, str]]:
    host_list, port_list = hosts.split(","), ports.split(",")
    if len(port_list) == 1:
        port_list *= len(host_list)
    return list(zip(host_list, port_list, strict=True))


async def _find(conninfo: str, places: list[tuple[str, str]]) -> _Found:
    asking = [asyncio.create_task(_ask(conninfo, place)) for place in places]
    found: list[_Found] = []
    waiting = set(asking)
    ends_at = _now() + _ALL_SECONDS
    try:
        while waiting and _now() < ends_at:
            done, waiting = await asyncio.wait(
                waiting, timeout=ends_at - _now(), return_when=asyncio.FIRST_COMPLETED
            )
            found += [one for task in done if (one := task.result()) is not None]
            if found:
                ends_at = min(ends_at, _now() + _OTHERS_SECONDS)
    finally:
        await end(*asking)
    if not found:
        raise NotPrimary("None of the servers takes writes.")
    return max(found)


async def _ask(conninfo: str, place: tuple[str, str]) -> _Found | None:
    """The server at this place if it is a primary."""
    address = make_conninfo(
        conninfo, host=place[0], port=place[1], target_session_attrs="any", options=""
    )
    try:
        async with await AsyncConnection.connect(address, autocommit=True) as connection:
            row = await (await connection.execute(_TIMELINE)).fetchone()
    except psycopg.Error:
        return None
    return None if row is None or row[0] is None else _Found(int(row[0], 16), place)


def _now() -> float:
    return asyncio.get_running_loop().time()
