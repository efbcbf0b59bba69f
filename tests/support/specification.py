"""given(events).when(command).then(events), for the pure rules of a customer."""

from functools import reduce

import pytest

from command_side.commands import Command
from command_side.customer import State, Unknown, decide, evolve
from command_side.errors import Rejection
from events.customer import CustomerEvent
from tests.support.builders import an_origin


class Specification:
    """A history, then a command, then what must come of it."""

    def __init__(self, *history: CustomerEvent) -> None:
        self._state: State = reduce(evolve, history, Unknown())
        self._command: Command | None = None

    def when(self, command: Command) -> "Specification":
        """The command that arrives."""
        self._command = command
        return self

    def then(self, *events: CustomerEvent) -> None:
        """Exactly these events."""
        assert self._decide() == list(events)

    def then_nothing(self) -> None:
        """No event: all is as wished already."""
        assert self._decide() == []

    def then_rejected(self, rejection: type[Rejection]) -> Rejection:
        """The command is refused."""
        with pytest.raises(rejection) as caught:
            self._decide()
        return caught.value

    def _decide(self) -> list[CustomerEvent]:
        assert self._command is not None
        return decide(self._state, self._command, an_origin())


def given(*history: CustomerEvent) -> Specification:
    """What has happened so far."""
    return Specification(*history)
