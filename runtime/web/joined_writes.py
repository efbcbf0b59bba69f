"""The head of an answer goes out with the beginning of its body: one system call, not two."""

import asyncio
from typing import Final

_HEAD: Final = b"HTTP/1.1 "


class JoinedWrites(asyncio.Transport):
    """A transport that keeps a head until the body follows, or the event loop has had its turn.

    It has what the server uses of a transport, and no more.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._sending: asyncio.Handle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; a head a moment later."""
        if self._sending is None and data[: len(_HEAD)] == _HEAD:
            self._head = bytes(data)
            self._sending = asyncio.get_running_loop().call_soon(self._send_head)
            return
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
            data = self._head + data
        self._transport.write(data)

    def _send_head(self) -> None:
        self._sending = None
        # Whoever has gone meanwhile may have taken the transport along.
        if not self._transport.is_closing():
            self._transport.write(self._head)

    def close(self) -> None:
        """Close behind all that was written."""
        if self._sending is not None:
            self.write(b"")
        self._transport.close()

    def abort(self) -> None:
        """Close now; what was written and not yet taken is lost."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """The bytes that were written and not yet taken."""
        return self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Take nothing more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """What the connection tells of itself."""
        return self._transport.get_extra_info(name, default)
