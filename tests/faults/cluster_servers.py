"""The servers of a cluster: three NATS that replicate, and two Postgres of which one follows."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, children, make_folder
from runtime.embedded.ports import free_port

_READY_SECONDS: Final = 60.0


class ClusterPostgres(EmbeddedPostgres):
    """One of two servers; it is made as a copy of the other one when there is one to follow."""

    def __init__(self, folder: Path, name: str, *, password: str) -> None:
        super().__init__(make_folder(folder / name), password=password, port=free_port())
        self.name = name
        self._followed: ClusterPostgres | None = None

    def address(self, database: str) -> str:
        """How to reach this one and no other, with full rights."""
        return make_conninfo(self.url, dbname=database)

    def follow(self, other: Self) -> None:
        """Throw away what it holds, and be a standby of the other from the next start on."""
        self.erase()
        self._followed = other

    def demand_copies(self, standby: str) -> None:
        """Have no commit answered from now on before this standby has it on its disk.

        Returns when the standby streams and is the one that is waited for.
        """
        with psycopg.connect(self.address("postgres"), autocommit=True) as owner:
            owner.execute(
                sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(
                    sql.Literal(standby)
                )
            )
            owner.execute("SELECT pg_reload_conf()")
            followed = children.wait_until(
                lambda: (
                    owner.execute(
                        "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"
                    ).fetchone()
                    is not None
                ),
                _READY_SECONDS,
            )
        assert followed, f"{standby} does not follow {self.name}"

    def promote(self) -> None:
        """Have the standby be the primary; returns when it takes writes."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as owner:
            # What it was copied from may have waited for copies; nobody follows this one yet.
            owner.execute("SELECT pg_promote(true, 60)")
            owner.execute("SET synchronous_commit = local")
            owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
            owner.execute("SELECT pg_reload_conf()")

    def _options(self) -> list[str]:
        # Each is small here, and there are two.
        settings = ("shared_buffers=64MB", "wal_keep_size=512MB", f"cluster_name={self.name}")
        return super()._options() + [part for one in settings for part in ("-c", one)]

    def _initdb(self, data: Path, secret: Path) -> None:
        if self._followed is None:
            super()._initdb(data, secret)
            return
        source = make_conninfo(self._followed.url, application_name=self.name)
        command = [self._programs / "pg_basebackup", "-D", data, "-d", source, "-R"]
        with self._log.opened() as output:
            made = children.spawn(
                [*command, "--checkpoint=fast", "--wal-method=stream"],
                env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
                user=self._user,
                death_signal=signal.SIGTERM,
                stdout=output,
                stderr=output,
            )
            assert made.wait() == 0, self._log.tail()


class ClusterNats(EmbeddedNats):
    """One of several servers that replicate their streams."""

    def __init__(self, folder: Path, name: str, *, password: str, routes: Sequence[str]) -> None:
        super().__init__(make_folder(folder / name), password=password, port=free_port())
        self.name = name
        self._routes = routes
        self._own_route = routes[int(name.rpartition("-")[2]) - 1]

    def _configuration(self) -> str:
        configured: dict[str, Any] = json.loads(super()._configuration())
        configured["server_name"] = self.name
        configured["cluster"] = {
            "name": "customers",
            "listen": self._own_route.removeprefix("nats-route://"),
            "routes": [route for route in self._routes if route != self._own_route],
        }
        return json.dumps(configured, indent=2)


def postgres_pair(folder: Path, password: str) -> list[ClusterPostgres]:
    """A primary and its standby, neither of them started."""
    return [ClusterPostgres(folder, f"postgres_{n}", password=password) for n in (1, 2)]


def nats_servers(folder: Path, password: str) -> list[ClusterNats]:
    """Three servers that know one another, none of them started."""
    routes = [f"nats-route://127.0.0.1:{free_port()}" for _ in range(3)]
    return [ClusterNats(folder, f"nats-{n}", password=password, routes=routes) for n in (1, 2, 3)]


def any_postgres(pair: Sequence[ClusterPostgres], **parameters: str) -> str:
    """The address of whichever of them takes writes."""
    return make_conninfo(
        pair[0].url,
        host=",".join("127.0.0.1" for _ in pair),
        port=",".join(str(one.port) for one in pair),
        **parameters,
    )
