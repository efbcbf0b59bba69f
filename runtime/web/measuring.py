"""What an API process counts of its requests: how many, how they ended, how long they took."""

import re
from bisect import bisect_left
from collections.abc import Generator
from itertools import accumulate
from time import perf_counter
from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime.telemetry.metrics import SECONDS, Metrics

_BEGAN: Final = "began_at"
_UNMATCHED: Final = "unmatched"
_OTHER: Final = "other"
# What is sent as a method may be any word at all, and each would make new series.
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_KIND_OF_PLACEHOLDER: Final = re.compile(r":\w+(?=\})")
_BOUNDS: Final = [*map(str, SECONDS), "+Inf"]


class _Durations:
    """How long the requests of one route took."""

    __slots__ = ("in_buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.in_buckets = [0] * len(_BOUNDS)


class _Answers:
    """The answers of one route that have one status."""

    __slots__ = ("count", "durations")

    def __init__(self, durations: _Durations) -> None:
        self.count = 0
        self.durations = durations


class RequestMetrics(Collector):
    """Counts by the template of the route, never by the path: people stand in paths.

    In plain numbers that are told at a scrape: the library's own cost each request as much as the
    rest of what is done to let it in.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._in_progress = 0
        self._answers: dict[tuple[str, str, int], _Answers] = {}
        self._durations: dict[tuple[str, str], _Durations] = {}
        metrics.registry.register(self)
        metrics.gauge(
            "customers_http_requests_in_progress",
            "Requests being answered now, streams of events among them.",
            lambda: self._in_progress,
        )

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """The outermost of all: notes when a request began, and that it is being answered."""

        async def note(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"][_BEGAN] = perf_counter()
            self._in_progress += 1
            try:
                await app(scope, receive, send)
            finally:
                self._in_progress -= 1

        return note

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Counts each answer, that of a path which nobody serves too."""
        if message["type"] != "http.response.start":
            return
        method = str(scope.get("method"))
        if method not in _METHODS:
            method = _OTHER
        answer = (method, scope.get("path_template", ""), message["status"])
        answers = self._answers.get(answer) or self._first(*answer)
        answers.count += 1
        began: object = scope["state"].get(_BEGAN)
        if isinstance(began, float):
            durations, seconds = answers.durations, perf_counter() - began
            durations.seconds += seconds
            durations.in_buckets[bisect_left(SECONDS, seconds)] += 1

    def _first(self, method: str, template: str, status: int) -> _Answers:
        durations = self._durations.setdefault((method, template), _Durations())
        return self._answers.setdefault((method, template, status), _Answers(durations))

    def describe(self) -> list[Metric]:
        """The families without their numbers, so that no name is given twice."""
        return [_requests(), _seconds()]

    def collect(self) -> Generator[Metric]:
        """The families with their numbers now."""
        requests, seconds = _requests(), _seconds()
        for (method, template, status), answers in self._answers.items():
            requests.add_metric([method, _route(template), str(status)], answers.count)
        for (method, template), durations in self._durations.items():
            # Of paths that nobody serves nothing is timed.
            if any(durations.in_buckets):
                up_to = zip(_BOUNDS, accumulate(durations.in_buckets), strict=True)
                seconds.add_metric([method, _route(template)], list(up_to), durations.seconds)
        yield requests
        yield seconds


def _requests() -> CounterMetricFamily:
    words = "Requests answered, by route, method and status."
    return CounterMetricFamily(
        "customers_http_requests", words, labels=["method", "route", "status"]
    )


def _seconds() -> HistogramMetricFamily:
    words = "Seconds until the answer began, of a stream too."
    return HistogramMetricFamily(
        "customers_http_request_duration_seconds", words, labels=["method", "route"]
    )


def route_of(scope: Scope) -> str:
    """The template of a request's route, as the API's document writes it."""
    return _route(scope.get("path_template", ""))


def _route(template: str) -> str:
    return _KIND_OF_PLACEHOLDER.sub("", template) or _UNMATCHED
