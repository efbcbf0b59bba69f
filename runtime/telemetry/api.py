"""What an API process tells of itself: its metrics, and spans where there are traces."""

from collections.abc import Sequence

from runtime.postgres import Pool, ask
from runtime.progress import ask_progress
from runtime.settings import Settings
from runtime.telemetry.gauges import measure_checks, measure_pools, measure_progress
from runtime.telemetry.metrics import Metrics
from runtime.telemetry.port import has_own_port
from runtime.telemetry.tracing import make_tracer
from runtime.web.admission import Admission
from runtime.web.frame import Part, Watcher
from runtime.web.health import Check
from runtime.web.measuring import RequestMetrics
from runtime.web.metrics import ROUTES, ServedMetrics
from runtime.web.openapi.metrics import DESCRIPTION
from runtime.web.spans import RequestSpans
from runtime.web.wrong_keys import WrongKeys


class ApiWatch:
    """Watches one API process; `pools` are those it has, by name, and may get more."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.metrics = Metrics()
        self.tracer = make_tracer(settings, "api")
        self.pools = {"read": pool}
        self._settings = settings
        self._requests = RequestMetrics(self.metrics)
        measure_pools(self.metrics, self.pools)
        measure_progress(
            self.metrics,
            lambda: ask(pool, lambda connection: ask_progress(connection, settings.log_id)),
        )

    def parts(self, checks: Sequence[Check]) -> list[Part]:
        """The call for the metrics, unless it has a port of its own; with what is checked."""
        measure_checks(self.metrics, checks)
        if not self._settings.metrics or has_own_port(self._settings):
            return []
        return [
            metrics_part(ServedMetrics(metrics=self.metrics, token=self._settings.metrics_token))
        ]

    def measure_admission(self, admission: Admission) -> None:
        """Tell how full it is, and how much of what came was refused."""
        words = "Requests and connections that were refused, by what there was too much of."
        self.metrics.counter(
            "customers_http_requests_shed", words, admission.counts, label="reason"
        )
        words = "Connections of clients that are open."
        connections = admission.connections
        self.metrics.gauge("customers_http_connections", words, lambda: len(connections.open))
        places = {"read": admission.reads, "write": admission.writes}
        self.metrics.gauge(
            "customers_http_places_taken",
            "Requests that are worked on.",
            lambda: {kind: each.taken for kind, each in places.items()},
            label="kind",
        )
        self.metrics.gauge(
            "customers_http_places_waiting",
            "Requests that wait for a place to be worked on.",
            lambda: {kind: each.waiting for kind, each in places.items()},
            label="kind",
        )

    def measure_wrong_keys(self, wrong_keys: WrongKeys) -> None:
        """Tell how often somebody came with a wrong key."""
        words = "Requests with an API key that nobody has, or nobody has any more."
        self.metrics.counter("customers_http_wrong_keys", words, lambda: wrong_keys.counted)

    def watchers(self) -> list[Watcher]:
        """What is told of each request."""
        return [self._requests, *([RequestSpans(self.tracer)] if self.tracer else [])]


def metrics_part(served: ServedMetrics | None) -> Part:
    """The call for the metrics; without any, only to be described."""
    return Part(routes=ROUTES, dependencies={"served_metrics": served}, description=DESCRIPTION)
