"""What the processes tell of themselves: metrics for Prometheus, spans for OpenTelemetry."""
