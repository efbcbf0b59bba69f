"""Ports of this machine: which are free, and one kept for a server that is yet to start."""

import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return False
    return True


@contextmanager
def reserved_port(host: str, port: int) -> Generator[int]:
    """The port, or with 0 a free one, for a server of ours to listen on until the block ends.

    Raises OSError when it is taken. Nobody else is given it meanwhile, also while the server starts
    again; elsewhere than on Linux somebody may be quicker.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        # On Linux two sockets with this may have the same port, as long as only one listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
        number: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield number


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; somebody else may still be quicker."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
