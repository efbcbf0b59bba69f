"""The call for the metrics, in the API's OpenAPI document."""

from typing import Final

from runtime.web.metrics import wrong_token
from runtime.web.openapi.kit import Answer, Description, Operation, failure

DESCRIPTION: Final = Description(
    operations={
        "metrics": Operation(
            tag="Service",
            description="In the text format of Prometheus, or as OpenMetrics where `Accept` asks "
            "for it. Where `CUSTOMERS_METRICS_TOKEN` is set, with `Authorization: Bearer …`.",
            answers={
                200: Answer(
                    description="The metrics of this process.",
                    schema={"type": "string"},
                    media_types=(
                        "text/plain; version=0.0.4; charset=utf-8",
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    ),
                )
            },
            failures=("wrong_metrics_token",),
        )
    },
    failures={"wrong_metrics_token": failure(wrong_token(), "/metrics")},
)
