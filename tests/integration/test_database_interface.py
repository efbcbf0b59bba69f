"""What processes call and read in the database: a later version leaves it to those of the one
before, which run on while they are replaced.
"""

from pathlib import Path

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from projections.editions import create_edition

GOLDEN = Path(__file__).parent.parent / "golden" / "database_interface.txt"
_FUNCTIONS = """
SELECT format('%%s.%%s(%%s) -> %%s', n.nspname, p.proname,
              pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid))
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = ANY (%(schemas)s::text[])
   AND EXISTS (SELECT FROM unnest(%(roles)s::text[]) role
                WHERE has_function_privilege(role, p.oid, 'EXECUTE'))
"""
_COLUMNS = """
SELECT format('%%s.%%s.%%s %%s', n.nspname, c.relname, a.attname,
              format_type(a.atttypid, a.atttypmod))
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname = ANY (%(schemas)s::text[]) AND c.relkind IN ('r', 'p', 'v', 'c')
   AND (c.relkind = 'c'
        OR EXISTS (SELECT FROM unnest(%(roles)s::text[]) role
                    WHERE has_column_privilege(role, c.oid, a.attnum, 'SELECT')))
"""
_ADVICE = """
No longer there, though processes of the version before use it: put it back beside what is new, and
take it away in the version after, when nobody uses it any more. Only then take its line out of {}:
"""


def interface(owner: Connection[TupleRow], edition: str) -> set[str]:
    """Every function that a process may call and every column it may read, one line each."""
    values = {
        "schemas": ["log", "keyring", "control", "projections", edition],
        "roles": ["customers_api", "customers_relay", "customers_projector"],
    }
    lines = [line for query in (_FUNCTIONS, _COLUMNS) for (line,) in owner.execute(query, values)]
    return {line.replace(f"{edition}.", "edition.") for line in lines}


@pytest.mark.parametrize("edition", [1, 2])
def test_what_processes_use_stays_for_those_of_the_version_before(
    owner: Connection[TupleRow], edition: int
) -> None:
    if edition > 1:
        create_edition(owner, edition)
    known = set(GOLDEN.read_text(encoding="utf-8").splitlines())
    is_now = interface(owner, f"edition_{edition}")
    lost = sorted(known - is_now)
    assert not lost, "\n".join([_ADVICE.format(GOLDEN.name), *lost])
    added = sorted(is_now - known)
    assert not added, "\n".join([f"New; add to {GOLDEN.name}:", *added])
