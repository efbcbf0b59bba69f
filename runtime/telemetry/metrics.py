"""The metrics of one process, as Prometheus scrapes them.

What can be read when somebody asks is read then, and costs a request nothing; only durations and
sizes are noted as they happen. Names and labels are the same whatever is stored: no workspace, no
customer, no key and no path of a request is ever one of them.
"""

import asyncio
import importlib.metadata
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Final, TypeAlias, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Value: TypeAlias = float | None
"""None: not known now, and not shown."""
Read: TypeAlias = Callable[[], Value] | Callable[[], Mapping[str, float]]
"""Gives one number, or with a label the number for each of its values."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The buckets of what takes time."""
EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""The buckets of how many events go together."""

_PAUSE_SECONDS: Final = 0.05
"""Between two pages, however often somebody asks."""

# When a series began is a series too: of every histogram and counter, and nobody reads it.
prometheus_client.disable_created_metrics()


class Metrics:
    """What one process tells of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._looks: list[Callable[[], Awaitable[None]]] = []
        self._making = asyncio.Lock()
        self._made_at = 0.0
        # By their format: those that are being made, for all who ask meanwhile.
        self._pages: dict[str, asyncio.Task[bytes]] = {}
        version = importlib.metadata.version("customers")
        words = "Which version this process runs."
        self.gauge("customers_build_info", words, lambda: {version: 1}, label="version")

    def counter(self, name: str, about: str, read: Read, *, label: str = "") -> None:
        """Tell a number that only grows, under `<name>_total`; `read` is called at each scrape."""
        self.registry.register(_Reading(CounterMetricFamily, name, about, read, label))

    def gauge(self, name: str, about: str, read: Read, *, label: str = "") -> None:
        """Tell a number that goes up and down; `read` is called at each scrape."""
        self.registry.register(_Reading(GaugeMetricFamily, name, about, read, label))

    def condition(self, name: str, conditions: object, now: Callable[[], str]) -> None:
        """Tell in which of the conditions that a Literal names this process is."""

        def read() -> Mapping[str, float]:
            current = now()
            return {condition: float(condition == current) for condition in get_args(conditions)}

        words = "1 for the condition that this process is in, 0 for the others."
        self.gauge(name, words, read, label="condition")

    def histogram(self, name: str, about: str, buckets: Sequence[float]) -> Histogram:
        """What is noted with `observe`, as it happens."""
        return Histogram(name, about, buckets=buckets, registry=self.registry)

    def before_scrape(self, look: Callable[[], Awaitable[None]]) -> None:
        """Have this done before each scrape: for what has to be asked of a server. Never raises."""
        self._looks.append(look)

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """All of it in the format that `accept` prefers, and the name of that format.

        All who ask at the same time share a page: one costs as much as many requests, and whoever
        may ask may ask as often as they like.
        """
        encode, content_type = choose_encoder(accept)
        making = self._pages.get(content_type)
        if making is None or making.done():
            making = self._pages[content_type] = asyncio.create_task(self._make(encode))
        return await asyncio.shield(making), content_type

    async def _make(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        async with self._making:
            await asyncio.sleep(self._made_at + _PAUSE_SECONDS - time.monotonic())
            await asyncio.gather(*(look() for look in self._looks))
            page = encode(self.registry)
            self._made_at = time.monotonic()
            return page


class _Reading(Collector):
    """One family, read when it is collected."""

    def __init__(
        self,
        family: type[CounterMetricFamily] | type[GaugeMetricFamily],
        name: str,
        about: str,
        read: Read,
        label: str,
    ) -> None:
        self._family = family
        self._name = name
        self._about = about
        self._read = read
        self._labels = [label] if label else []

    def describe(self) -> list[Metric]:
        """The family without its numbers, so that no name is given twice."""
        return [self._family(self._name, self._about, labels=self._labels)]

    def collect(self) -> Generator[Metric]:
        """The family with its numbers now."""
        family = self._family(self._name, self._about, labels=self._labels)
        found = self._read()
        if isinstance(found, Mapping):
            for value, number in found.items():
                family.add_metric([value], number)
        elif found is not None:
            family.add_metric([], found)
        yield family
