"""A NATS server of a test's own, which it may stop, kill and start again."""

import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from runtime.embedded import EmbeddedNats
from runtime.embedded.children import identify


class Broker(EmbeddedNats):
    """A server that may have more users, with the rights they are given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, password="secret", durable=False)
        self.users: list[object] = []
        """As they stand in the configuration; in force from the next start on."""

    def start(self) -> None:
        """Start it, or start it again where it was."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """End it without a warning."""
        process = self._process
        assert process is not None
        assert identify(process.pid) is not None
        process.kill()
        process.wait()

    def _configuration(self) -> str:
        configuration = json.loads(super()._configuration())
        ours = configuration["authorization"]
        configuration["authorization"] = {"users": [ours, *self.users]}
        return json.dumps(configuration)


@contextmanager
def a_broker() -> Generator[Broker]:
    """A server that runs, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="customers-nats-"))
    broker = Broker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
