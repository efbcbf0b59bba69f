"""What is told of appends: to Prometheus always, and as spans where there are traces."""

from collections.abc import Iterator, Sequence

from command_side.appender import Appender
from events.append import Group
from events.cloudevents import traceparent_in
from runtime.telemetry.metrics import EVENTS, SECONDS, Metrics
from runtime.telemetry.tracing import Attributes, Tracer


class AppendWatch:
    """Watches the appends of one process."""

    def __init__(self, metrics: Metrics, tracer: Tracer | None) -> None:
        self._tracer = tracer
        self._events = metrics.histogram(
            "customers_append_batch_events", "Events in one call of the append.", EVENTS
        )
        self._seconds = metrics.histogram(
            "customers_append_duration_seconds",
            "Seconds that one call of the append took.",
            SECONDS,
        )
        self._metrics = metrics

    def measure_queue(self, appender: Appender) -> None:
        """Tell how its queue is too."""
        metrics = self._metrics
        words = "Commands that wait for their turn to be appended."
        metrics.gauge("customers_append_queue", words, lambda: appender.queued)
        words = "Seconds for which the log has left unanswered what was sent to it."
        metrics.gauge("customers_append_silent_seconds", words, appender.silent_seconds)
        words = "Calls of the append that the database did not answer."
        metrics.counter("customers_append_failures", words, lambda: appender.failures)

    def appended(self, groups: Sequence[Group], seconds: float) -> None:
        """One call was answered, after so many seconds."""
        self._events.observe(sum(len(group.events) for group in groups))
        self._seconds.observe(seconds)
        if self._tracer is not None:
            self._tracer.note("append", "client", _parts(groups), seconds)


def _parts(groups: Sequence[Group]) -> Iterator[tuple[str | None, Attributes]]:
    for group in groups:
        if group.events:
            # They are of one request.
            parent = traceparent_in(group.events[0].metadata)
            yield parent, {"customers.events": len(group.events)}
