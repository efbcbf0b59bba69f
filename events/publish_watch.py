"""What is told of publishing: to Prometheus always, and as spans where there are traces."""

from collections.abc import Callable, Iterator, Sequence

from events.batches import Message
from events.jetstream import POSITION_HEADER, TRACE_HEADER
from events.relay import RelayCondition, RelayState
from runtime.telemetry.metrics import EVENTS, SECONDS, Metrics
from runtime.telemetry.tracing import Attributes, Tracer


class PublishWatch:
    """Watches one relay; `state` is what it says of itself."""

    def __init__(
        self, metrics: Metrics, tracer: Tracer | None, state: Callable[[], RelayState]
    ) -> None:
        self._tracer = tracer
        self._events = metrics.histogram(
            "customers_publish_batch_events", "Events that were published at once.", EVENTS
        )
        self._seconds = metrics.histogram(
            "customers_publish_duration_seconds",
            "Seconds until JetStream had acknowledged what was published at once.",
            SECONDS,
        )
        words = "The last sequence of the JetStream stream."
        metrics.gauge("customers_stream_sequence", words, lambda: state().sequence)
        metrics.condition("customers_relay_condition", RelayCondition, lambda: state().condition)

    def published(self, messages: Sequence[Message], seconds: float) -> None:
        """So many messages are in the stream, after so many seconds."""
        self._events.observe(len(messages))
        self._seconds.observe(seconds)
        if self._tracer is not None:
            self._tracer.note("publish", "producer", _parts(messages), seconds)


def _parts(messages: Sequence[Message]) -> Iterator[tuple[str | None, Attributes]]:
    for message in messages:
        headers = message.headers
        yield headers.get(TRACE_HEADER), {"customers.position": int(headers[POSITION_HEADER])}
