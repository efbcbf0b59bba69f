#!/usr/bin/env python3
"""Health check of a relay or projector: has this container's said lately that all is well?

`python heartbeat.py relay` exits 0 when it has; else it says why not and exits 1.
"""

import os
import socket
import sys

import psycopg

from runtime.settings import read_settings

# The login user may read these columns; the role that the process takes on may not.
_NEWEST = """
SELECT beat_at > clock_timestamp() - interval '10 seconds', state->>'condition', state->>'words'
FROM control.processes WHERE kind = %s AND host = %s ORDER BY beat_at DESC LIMIT 1
"""
_IN_TROUBLE = ("stopped", "no connection", "damaged", "erasures wait", "not signing")


def find_fault(kind: str) -> str | None:
    """What is wrong with the process of this kind in this container; None when nothing is."""
    url = read_settings(os.environ).database_url
    with psycopg.connect(url, connect_timeout=3, application_name=f"customers {kind} check") as c:
        row = c.execute(_NEWEST, [kind, socket.gethostname()]).fetchone()
    if row is None:
        return f"this {kind} has never been heard of"
    is_fresh, condition, words = row
    if not is_fresh:
        return f"this {kind} has been silent for more than 10 seconds"
    return f"{condition}: {words}" if condition in _IN_TROUBLE else None


def main() -> None:
    """Check the kind named on the command line."""
    try:
        fault = find_fault(sys.argv[1])
    except psycopg.Error as error:
        fault = f"Postgres cannot be asked ({type(error).__name__})"
    sys.exit(fault)


if __name__ == "__main__":
    main()
