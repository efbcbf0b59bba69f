"""The fixtures that these tests share."""

from tests.support.clients import (
    api,
    both,
    command,
    customers,
    other_process,
    owner,
    reader,
    writer,
)
from tests.support.subscribing import broker, client, impatient, stream, stubborn

__all__ = [
    "api",
    "both",
    "broker",
    "client",
    "command",
    "customers",
    "impatient",
    "other_process",
    "owner",
    "reader",
    "stream",
    "stubborn",
    "writer",
]
