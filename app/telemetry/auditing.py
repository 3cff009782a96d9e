"""What auditing tells the operator: what became of audits, and what stands by them."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

OUTCOMES: Final = ("done", "refused", "failed", "dropped")
"""Refused by the operator's budget or configuration; failed upstream; dropped for want of room."""


class AuditMetrics:
    """Counted here are this process's audits; the gauges say the same in every replica."""

    def __init__(self, registry: CollectorRegistry, *, scopes: tuple[str, ...]) -> None:
        self._audits = Counter(
            "fathom_gate_audits",
            "Accepted answers that were drawn for an audit, by what became of it.",
            ["outcome"],
            registry=registry,
        )
        self._certificates = Gauge(
            "fathom_gate_certificates",
            "Certificates of regret that stand, by whose audits they rest on.",
            ["scope"],
            registry=registry,
        )
        self._alarms = Gauge(
            "fathom_gate_drift_alarms",
            "Alarms of drift in all audits on record; it rises with each.",
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._audits.labels(outcome)
        self._scopes = scopes
        self.stand({}, alarms=0)

    def audit(self, outcome: str) -> None:
        """Count one, by what became of it."""
        self._audits.labels(outcome).inc()

    def stand(self, certificates: Mapping[str, int], *, alarms: int) -> None:
        """Say how many certificates stand, by scope, and how many alarms there ever were."""
        for scope in self._scopes:
            self._certificates.labels(scope).set(certificates.get(scope, 0))
        self._alarms.set(alarms)
