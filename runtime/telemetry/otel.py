"""Spans by OpenTelemetry, sent as OTLP over HTTP; needs the extra `tracing`.

What the settings do not say, OpenTelemetry takes from its own environment variables, as whoever
knows it expects: `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`.
"""

import threading
import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from runtime.telemetry.tracing import Attributes, Kind

_CLOSE_SECONDS: Final = 2.0
_KINDS: Final[dict[Kind, SpanKind]] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}


class OtelSpan:
    """A span that has begun."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What those who go on with the trace are told."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, name: str, attributes: Attributes, *, failed: bool) -> None:
        """It is over, and this is what it was."""
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class OtelTracer:
    """Makes the spans of one process, and sends them from a thread of its own."""

    def __init__(self, endpoint: str, process: str) -> None:
        described = {
            "service.name": f"customers-{process}",
            "service.version": version("customers"),
        }
        self._provider = TracerProvider(resource=Resource.create(described), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("customers")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, name: str, parent: str | None, kind: Kind) -> OtelSpan:
        """A span that begins now, in the trace of the parent or in a new one."""
        context = Context() if parent is None else self._context(parent)
        return OtelSpan(self._tracer.start_span(name, context, _KINDS[kind]))

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
        end_time = time.time_ns()
        start_time = end_time - int(seconds * 1e9)
        for parent, attributes in parts:
            if parent is None or not _is_kept(parent):
                continue
            span = self._tracer.start_span(
                name, self._context(parent), _KINDS[kind], attributes, start_time=start_time
            )
            span.end(end_time)

    def close(self) -> None:
        """Send what is not sent yet, for some seconds at most."""
        # It would try for long to reach a collector that is away.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _context(self, parent: str) -> Context:
        return self._propagator.extract({"traceparent": parent}, Context())


def _is_kept(parent: str) -> bool:
    """Whether those before us keep this trace: the lowest bit of the last two digits."""
    return bool(int(parent[-1], 16) & 1)
