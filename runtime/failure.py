"""What a command tells a person when it cannot go on."""


class Failure(Exception):
    """A command cannot go on: what failed and why, and the next command to try."""

    def __init__(self, reason: str, try_next: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.try_next = try_next
