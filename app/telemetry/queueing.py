"""The metrics of waiting for a turn, beside the others in their registry."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.telemetry.metrics import SECONDS

PRIORITIES: Final = ("interactive", "low")


class QueueMetrics:
    """How many wait, how long they did, and how many were sent away."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting = Gauge(
            "fathom_queue_depth", "Solves that wait for a turn.", ["priority"], registry=registry
        )
        self._waited = Histogram(
            "fathom_queue_wait_seconds",
            "How long solves waited that found no room; those that did are not counted.",
            ["priority"],
            registry=registry,
            buckets=SECONDS,
        )
        self._refused = Counter(
            "fathom_queue_refused",
            "Requests sent away because the queue was full.",
            registry=registry,
        )
        for priority in PRIORITIES:
            self._waiting.labels(priority)
            self._waited.labels(priority)

    def waiting(self, priority: str, depth: int) -> None:
        """So many wait now."""
        self._waiting.labels(priority).set(depth)

    def waited(self, priority: str, seconds: float) -> None:
        """One has stopped waiting, whatever came of it."""
        self._waited.labels(priority).observe(seconds)

    def refused(self) -> None:
        """One was sent away."""
        self._refused.inc()
