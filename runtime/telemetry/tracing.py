"""Traces, where the settings name a collector; OpenTelemetry is loaded only there.

A request's trace goes on in whoever works on its events later, for each event keeps the
`traceparent` of the request that made it. A span says what was done, when, and where in the log;
never of whom or by whom.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from runtime.failure import Failure
from runtime.settings import Settings, SettingsError

Attributes: TypeAlias = Mapping[str, str | int]
Kind: TypeAlias = Literal["server", "client", "producer", "consumer"]

_OTLP_PATH: Final = "/v1/traces"


class OpenSpan(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str:
        """What those who go on with the trace are told."""
        ...

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None:
        """It is over, and this is what it was."""
        ...


class Tracer(Protocol):
    """Makes the spans of one process; written down here, for its module may not be installed."""

    def begin(self, name: str, parent: str | None, kind: Kind) -> OpenSpan:
        """A span that begins now, in the trace of the parent or in a new one."""
        ...

    def note(
        self,
        name: str,
        kind: Kind,
        parts: Iterable[tuple[str | None, Attributes]],
        seconds: float,
    ) -> None:
        """What has just been done in so many seconds, for several parents at once.

        Each gets a span in its own trace; none where there is no parent, or nobody keeps its trace.
        """
        ...

    def close(self) -> None:
        """Send what is not sent yet, for some seconds at most."""
        ...


def make_tracer(settings: Settings, process: str) -> Tracer | None:
    """The tracer of a process, to be closed; None where no traces are wanted.

    Raises Failure when OpenTelemetry is not installed, SettingsError when the URL cannot be used.
    """
    if not settings.traces_url:
        return None
    endpoint = _endpoint(settings.traces_url)
    try:
        make: Callable[[str, str], Tracer] = import_module("runtime.telemetry.otel").OtelTracer
    except ImportError as error:
        raise Failure(
            f"CUSTOMERS_TRACES_URL is set, but {error.name} is not installed.",
            "pip install '.[tracing]' in the checkout, or leave CUSTOMERS_TRACES_URL empty",
        ) from error
    return make(endpoint, process)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(
            f"CUSTOMERS_TRACES_URL={url!r} is no address of a collector. "
            "One looks like http://127.0.0.1:4318."
        )
    return url if parts.path.strip("/") else url.rstrip("/") + _OTLP_PATH
