"""`deploy/postgres-node` gives up the data of a server for a newer history of them, and else never.

The programs of Postgres are stood in for: what they would say is what makes each case.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parent.parent.parent
KEPT, SERVED = "kept", "served"
# Answers the questions of the script in the order in which it asks them.
PSQL = """#!/bin/sh
case "$*" in
  *pg_is_in_recovery*) echo "$PEER_IS_STANDBY" ;;
  *system_identifier*) echo "$PEER_SYSTEM" ;;
  *walfile*) echo "$PEER_TIMELINE" ;;
  *) echo "$*" >>"$SAID" ;;
esac
"""
CONTROL = """#!/bin/sh
echo "Database system identifier:           77"
echo "Latest checkpoint's TimeLineID:       1"
"""
COPY = """#!/bin/sh
for one; do case $one in --pgdata=*) new=${one#--pgdata=} ;; esac; done
mkdir "$new" && echo copied >"$new/PG_VERSION" && : >"$new/standby.signal"
printf "synchronous_standby_names = 'x'\\n" >"$new/postgresql.auto.conf"
"""

Started: TypeAlias = Callable[..., str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder that a server keeps its data in."""
    folder = tmp_path / "18" / "docker"
    (folder / "pg_wal").mkdir(parents=True)
    (folder / "PG_VERSION").write_text(KEPT)
    return folder


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Started:
    """Starts the server beside a peer, and tells whether it serves, and with which data."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # A server that is given a locale makes its databases by it; the password is none of its.
    serve = (
        '#!/bin/sh\n[ -z "${LC_ALL:-}${PGPASSWORD:-}" ] || exit 1\n'
        f'echo {SERVED} "$(cat "$PGDATA/PG_VERSION" 2>/dev/null)"\n'
    )
    for name, text in {
        "psql": PSQL,
        "pg_controldata": CONTROL,
        "pg_basebackup": COPY,
        "docker-entrypoint.sh": serve,
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "postgres_password").write_text("secret\n")

    def run(*, standby: str = "f", system: int = 77, timeline: int = 1, follows: str = "") -> str:
        environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SECRETS": str(tmp_path),
            "RETRY_SECONDS": "0",
            "PGDATA": str(data),
            "NODE": "one",
            "PEER": "other",
            "FOLLOWS": follows,
            "SAID": str(tmp_path / "said"),
            "PEER_IS_STANDBY": standby,
            "PEER_SYSTEM": str(system),
            "PEER_TIMELINE": str(timeline),
        }
        ended = subprocess.run(
            [ROOT / "deploy/postgres-node"],
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        return ended.stdout.splitlines()[-1] if ended.returncode == 0 else "refused"

    return run


def promote(data: Path) -> None:
    """This server was promoted once, which its control file does not say yet."""
    (data / "pg_wal" / "00000002.history").touch()


@pytest.mark.parametrize("standby", ["", "t"])
def test_who_finds_no_primary_serves_what_it_has(start: Started, standby: str) -> None:
    assert start(standby=standby) == f"{SERVED} {KEPT}"


def test_an_old_primary_is_made_anew_from_the_new_one(
    start: Started, data: Path, tmp_path: Path
) -> None:
    assert start(timeline=2) == f"{SERVED} copied"
    assert "synchronous_standby_names" not in (data / "postgresql.auto.conf").read_text()
    assert (
        "ALTER SYSTEM SET synchronous_standby_names = '\"one\"'" in (tmp_path / "said").read_text()
    )


def test_a_new_primary_keeps_its_data_when_the_old_one_was_started_first(
    start: Started, data: Path, tmp_path: Path
) -> None:
    promote(data)
    assert start(timeline=1, follows="true") == f"{SERVED} {KEPT}"
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize("peer", [{"timeline": 1}, {"timeline": 2, "system": 78}])
def test_nobody_gives_up_data_for_a_server_that_is_no_newer_one_of_the_same_database(
    start: Started, data: Path, peer: dict[str, int]
) -> None:
    assert start(**peer) == "refused"
    assert (data / "PG_VERSION").read_text() == KEPT


@pytest.mark.parametrize(("standby", "follows"), [("t", ""), ("t", "true"), ("", "true")])
def test_nobody_makes_a_new_database_beside_a_standby_or_as_one(
    start: Started, data: Path, standby: str, follows: str
) -> None:
    (data / "PG_VERSION").unlink()
    assert start(standby=standby, follows=follows) == "refused"


def test_the_first_of_all_makes_the_database(start: Started, data: Path) -> None:
    (data / "PG_VERSION").unlink()
    assert start(standby="") == f"{SERVED} "
