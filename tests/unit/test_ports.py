"""A port that is kept for a server of ours is ours, while the server starts and starts again."""

import socket
import sys

import pytest

from runtime.embedded.ports import reserved_port

HOST = "127.0.0.1"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not kept")


def test_a_server_can_listen_there_again_and_again() -> None:
    with reserved_port(HOST, 0) as port:
        for _ in range(2):
            place = (HOST, port)
            with socket.create_server(place) as server, socket.create_connection(place):
                assert server.getsockname() == place


def test_nobody_else_is_given_it_before_the_server_listens() -> None:
    with (
        reserved_port(HOST, 0) as port,
        socket.socket() as other,
        pytest.raises(OSError, match="in use"),
    ):
        other.bind((HOST, port))


def test_two_are_never_the_same() -> None:
    with reserved_port(HOST, 0) as one, reserved_port(HOST, 0) as another:
        assert one != another


def test_one_that_somebody_listens_on_cannot_be_had() -> None:
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"), reserved_port(HOST, taken):
            pass


def test_it_is_free_again_afterwards() -> None:
    with reserved_port(HOST, 0) as port:
        pass
    with socket.socket() as other:
        other.bind((HOST, port))
