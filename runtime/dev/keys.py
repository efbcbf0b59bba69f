"""The API keys of development: made once, shown at every start."""

from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.api_keys import create_key, hash_key
from runtime.dev.folder import Secrets
from runtime.postgres import connect_as_owner
from runtime.settings import Settings

WORKSPACE = "dev"


def ensure_keys(settings: Settings, secrets: Secrets) -> None:
    """Make the live and the test key anew where the ones kept are not valid in this database."""
    with connect_as_owner(settings, "customers dev") as connection:
        if not _is_valid(connection, secrets.api_key):
            secrets.api_key = create_key(connection, workspace=WORKSPACE, name="development")
        if not _is_valid(connection, secrets.test_api_key):
            secrets.test_api_key = create_key(
                connection, workspace=WORKSPACE, test=True, name="development"
            )


def _is_valid(connection: Connection[TupleRow], key: str) -> bool:
    found = connection.execute("SELECT 1 FROM control.find_api_key(%s)", [hash_key(key)]).fetchone()
    return found is not None
