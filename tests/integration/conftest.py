"""The fixtures that these tests share."""

from tests.support.clients import api, both, customers, other_process, reader, writer
from tests.support.subscribing import broker, client, stream, stubborn

__all__ = [
    "api",
    "both",
    "broker",
    "client",
    "customers",
    "other_process",
    "reader",
    "stream",
    "stubborn",
    "writer",
]
