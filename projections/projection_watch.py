"""What is told of projecting: to Prometheus always, and as spans where there are traces."""

from collections.abc import Callable, Iterator, Sequence

from events.envelope import RecordedEvent
from projections.customers import LogEvent
from projections.runner import Condition, ProjectorState
from runtime.telemetry.metrics import EVENTS, SECONDS, Metrics
from runtime.telemetry.tracing import Attributes, Tracer


class ProjectionWatch:
    """Watches the projector of the edition that is read; `state` is what it says of itself."""

    def __init__(
        self, metrics: Metrics, tracer: Tracer | None, state: Callable[[], ProjectorState]
    ) -> None:
        self._tracer = tracer
        self._events = metrics.histogram(
            "customers_projection_batch_events",
            "Events that the read model took in at once.",
            EVENTS,
        )
        self._seconds = metrics.histogram(
            "customers_projection_duration_seconds",
            "Seconds until the read model had taken in what it took in at once.",
            SECONDS,
        )
        words = "The position of the newest event that the read model shows."
        metrics.gauge("customers_checkpoint_position", words, lambda: state().checkpoint)
        metrics.condition("customers_projector_condition", Condition, lambda: state().condition)

    def projected(self, events: Sequence[LogEvent], seconds: float) -> None:
        """These events are in the read model, after so many seconds."""
        self._events.observe(len(events))
        self._seconds.observe(seconds)
        if self._tracer is not None:
            self._tracer.note("project", "consumer", _parts(events), seconds)


def _parts(events: Sequence[LogEvent]) -> Iterator[tuple[str | None, Attributes]]:
    for event in events:
        if isinstance(event, RecordedEvent):
            yield event.traceparent, {"customers.position": event.position}
