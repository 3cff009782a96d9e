"""Every metric that Fathom has: its name, its labels, and what it means.

A label has few values, all known before traffic arrives: what is not among them is counted as
`other`, so that no request can mint a series. Experts are those of the catalogue, tenants those
that the operator named. Nothing here waits; `render` is slow and belongs in a thread. Counters are
this process's own; gauges that describe the database say the same in every replica, so take their
maximum over replicas and not their sum.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.money import NANO_PER_USD, NanoUSD

OTHER: Final = "other"
"""What a label says in place of a value that is not known in advance."""

NONE: Final = "none"
"""The route, and the reason, of a solve that ended before anything was decided."""

TENANTS_MAX: Final = 100
"""How many tenants can have series of their own."""

TENANTS_ALL: Final = "*"

ROUTES: Final = ("single", "strong", "search", "parallel", NONE)
STATUSES: Final = ("completed", "incomplete", "failed", "cancelled")
REASONS: Final = (
    "forced",
    "no_answer",
    "invalid_format",
    "below_target",
    "not_scored",
    "verified",
    "agreement",
    "disagreement",
    "no_opinion",
    "unchecked",
    "not_worth_it",
    "unconfirmed",
    "expected_gain",
    "locked",
    "hopeless",
    "cheap_hopeless",
    "risk_target",
    NONE,
)
CALL_PHASES: Final = ("first", "opinion", "strong", "search", "draft", "pass", "judge")
"""What a call was for."""

CALL_STATES: Final = ("ok", "failed", "cancelled", "orphan")
PHASES: Final = ("gate", "search")
"""What a solve spends time on."""

DIRECTIONS: Final = ("input", "output")
BASELINES: Final = ("single", "strong")
SCOPES: Final = ("org", "tenant", "project", "key")
PERIODS: Final = ("hour", "day", "week", "month", "total")
CHANNELS: Final = ("webhook", "slack", "email")
"""How a notice leaves."""

DELIVERIES: Final = ("delivered", "failed", "dead")
"""What became of an attempt; dead is the last of those that failed."""

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """The open budgets of one kind of one tenant, added up; `used` is that of the fullest.

    `tenant_id` is None for all the tenants without series of their own.
    """

    tenant_id: str | None
    scope: str
    period: str
    limit: NanoUSD
    spent: NanoUSD
    reserved: NanoUSD
    used: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says now, whichever replica asks."""

    inflight: int
    holds: NanoUSD
    orphans: int
    budgets: tuple[BudgetLevel, ...]
    notices_pending: int = 0
    notices_dead: int = 0


class Metrics:
    """The registry and everything in it. `tenants` are names, or `*` for the oldest hundred."""

    def __init__(self, *, version: str, experts: Iterable[str], tenants: Iterable[str]) -> None:
        # A second series for the birthday of each would double what is scraped.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self.registry = CollectorRegistry()
        self.tenants_wanted = tuple(dict.fromkeys(tenants))[:TENANTS_MAX]
        self._experts = frozenset(experts)
        self._tenants: Mapping[str, str] = {}
        self._levels: set[tuple[str, str, str]] = set()
        self._make_solve_metrics()
        self._make_gate_metrics()
        self._make_call_metrics()
        self._make_gauges()
        self.http_requests = self._counter(
            "http_requests", "HTTP requests answered.", "method", "route", "status"
        )
        self.notices = self._counter(
            "notices", "Attempts to deliver a notice.", "channel", "outcome"
        )
        build = self._gauge("build_info", "1, labelled with the version that runs.", "version")
        build.labels(version).set(1)
        ProcessCollector(registry=self.registry)
        self._start_at_zero()

    @property
    def tenants_apart(self) -> Collection[str]:
        """The ids of the tenants that have series of their own."""
        return self._tenants.keys()

    def tenant(self, tenant_id: str) -> str:
        """The label of a tenant: its name where it may have series of its own."""
        return self._tenants.get(tenant_id, OTHER)

    def expert(self, name: str) -> str:
        """The label of an expert: its name where the catalogue has it."""
        return name if name in self._experts else OTHER

    def name_tenants(self, names: Mapping[str, str]) -> None:
        """Give these tenants, names by id, series of their own; no more than TENANTS_MAX ever."""
        for tenant_id, name in names.items():
            room = len(self._tenants) < TENANTS_MAX
            if room and tenant_id not in self._tenants and name != OTHER:
                self._tenants = {**self._tenants, tenant_id: name}
                self._start_tenant(name)

    def stand(self, standing: Standing) -> None:
        """Set the gauges that describe the database."""
        self.inflight.set(standing.inflight)
        self.holds_usd.set(usd(standing.holds))
        self.orphans.set(standing.orphans)
        self.notices_pending.set(standing.notices_pending)
        self.notices_dead.set(standing.notices_dead)
        before, self._levels = self._levels, set()
        for level in standing.budgets:
            tenant = OTHER if level.tenant_id is None else self.tenant(level.tenant_id)
            labels = (tenant, known(level.scope, SCOPES), known(level.period, PERIODS))
            self._levels.add(labels)
            self.budget_limit_usd.labels(*labels).set(usd(level.limit))
            self.budget_spent_usd.labels(*labels).set(usd(level.spent))
            self.budget_reserved_usd.labels(*labels).set(usd(level.reserved))
            self.budget_used.labels(*labels).set(level.used)
        for gauge in self._budget_gauges:
            # A budget that was taken away must not stay as it was.
            for gone in before - self._levels:
                gauge.remove(*gone)
        self.standing_at.set(time.time())

    def render(self) -> bytes:
        """The text that Prometheus scrapes. Milliseconds of work: not on the event loop."""
        return generate_latest(self.registry)

    def _make_solve_metrics(self) -> None:
        self.solves = self._counter("solves", "Solves that ended.", "route", "status", "tenant")
        self.solve_cost_usd = self._counter(
            "solve_cost_usd", "Dollars that ended solves cost.", "route", "tenant"
        )
        self.solve_seconds = self._histogram(
            "solve_seconds", "Time from admission to the end of a solve.", "route"
        )
        self.phase_seconds = self._histogram(
            "phase_seconds", "Time that solves spent in one phase.", "phase"
        )
        scored = ("route", "tenant", "expert")
        self.scored = self._counter(
            "scored", "Solves whose answer was scored, by the expert that gave it.", *scored
        )
        self.scored_cost_usd = self._counter(
            "scored_cost_usd", "Dollars that scored solves cost.", *scored
        )
        self.score = self._counter("score", "Sum of the scores of scored solves.", *scored)
        self.right = self._counter(
            "right", "Scored solves whose answer passed: right / scored is the accuracy.", *scored
        )

    def _make_gate_metrics(self) -> None:
        decided = ("route", "reason")
        self.gate_decisions = self._counter(
            "gate_decisions",
            "Solves by the route taken and why; `forced` is the caller's choice, not the gate's.",
            *decided,
        )
        self.gate_cost_usd = self._counter(
            "gate_cost_usd", "Dollars that those solves cost, whole.", *decided
        )
        self.gate_scored = self._counter(
            "gate_scored", "Those solves whose answer was scored.", *decided
        )
        self.gate_scored_cost_usd = self._counter(
            "gate_scored_cost_usd", "Dollars that the scored ones cost.", *decided
        )
        self.gate_right = self._counter("gate_right", "Those solves whose answer passed.", *decided)
        compared = ("baseline", "route")
        self.baseline_usd = self._counter(
            "baseline_usd",
            "Dollars that one call (single, or strong) would have cost in place of a solve whose "
            "route the gate chose; only where that is known.",
            *compared,
        )
        self.baseline_actual_usd = self._counter(
            "baseline_actual_usd", "Dollars that the very same solves did cost.", *compared
        )

    def _make_call_metrics(self) -> None:
        self.calls = self._counter(
            "calls",
            "Upstream calls that ended, each attempt of its own.",
            "expert",
            "phase",
            "state",
        )
        self.tokens = self._counter(
            "tokens", "Tokens that providers reported.", "expert", "phase", "direction"
        )
        self.cost_usd = self._counter(
            "cost_usd", "Dollars that upstream calls cost tenants.", "expert", "phase", "tenant"
        )

    def _make_gauges(self) -> None:
        level = ("tenant", "scope", "period")
        self.inflight = self._gauge("inflight_solves", "Solves that have not ended.")
        self.holds_usd = self._gauge("holds_usd", "Dollars that running solves hold.")
        self.orphans = self._gauge(
            "orphan_calls", "Paid calls whose outcome nobody knows, to be reconciled."
        )
        self.notices_pending = self._gauge(
            "notices_pending", "Notices that wait to be delivered, or to be tried again."
        )
        self.notices_dead = self._gauge(
            "notices_dead", "Notices of the last thirty days that were given up."
        )
        self.budget_limit_usd = self._gauge(
            "budget_limit_usd", "Dollars that open budgets allow.", *level
        )
        self.budget_spent_usd = self._gauge(
            "budget_spent_usd", "Dollars spent from open budgets.", *level
        )
        self.budget_reserved_usd = self._gauge(
            "budget_reserved_usd", "Dollars of open budgets held for running solves.", *level
        )
        self.budget_used = self._gauge(
            "budget_used_ratio", "Spent and held share of the fullest open budget.", *level
        )
        self.standing_at = self._gauge(
            "standing_timestamp_seconds", "When the gauges of the database were last read."
        )
        self._budget_gauges = (
            self.budget_limit_usd,
            self.budget_spent_usd,
            self.budget_reserved_usd,
            self.budget_used,
        )

    def _start_at_zero(self) -> None:
        # A series that first appears at 1 has no increase that Prometheus could see.
        for route in ROUTES:
            self.solve_seconds.labels(route)
            for baseline in BASELINES:
                self.baseline_usd.labels(baseline, route)
                self.baseline_actual_usd.labels(baseline, route)
            for reason in REASONS:
                for metric in (
                    self.gate_decisions,
                    self.gate_cost_usd,
                    self.gate_scored,
                    self.gate_scored_cost_usd,
                    self.gate_right,
                ):
                    metric.labels(route, reason)
        for phase in PHASES:
            self.phase_seconds.labels(phase)
        for channel in CHANNELS:
            for outcome in DELIVERIES:
                self.notices.labels(channel, outcome)
        for expert in self._experts:
            for phase in CALL_PHASES:
                for state in CALL_STATES:
                    self.calls.labels(expert, phase, state)
                for direction in DIRECTIONS:
                    self.tokens.labels(expert, phase, direction)
        self._start_tenant(OTHER)

    def _start_tenant(self, name: str) -> None:
        for route in ROUTES:
            self.solve_cost_usd.labels(route, name)
            for status in STATUSES:
                self.solves.labels(route, status, name)
            for expert in self._experts:
                self.scored.labels(route, name, expert)
                self.scored_cost_usd.labels(route, name, expert)
                self.score.labels(route, name, expert)
                self.right.labels(route, name, expert)
        for expert in self._experts:
            for phase in CALL_PHASES:
                self.cost_usd.labels(expert, phase, name)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"fathom_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"fathom_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"fathom_{name}", meaning, labels, registry=self.registry, buckets=SECONDS)


def known(value: str, values: Iterable[str]) -> str:
    """The value as a label: itself where it is one of `values`, else `other`."""
    return value if value in values else OTHER


def usd(amount: NanoUSD) -> float:
    """Dollars, good enough for a graph and never for a bill."""
    return amount / NANO_PER_USD
