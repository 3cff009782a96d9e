"""Many seeds added up, as a person reads them."""

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.story import Report
from tests.simulation.world import Fault


@dataclass(slots=True)
class Summary:
    """What happened under all seeds so far."""

    seeds: int = 0
    solves: int = 0
    fewest_solves: int = 0
    effects: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[Fault] = field(default_factory=Counter[Fault])
    broken: list[Report] = field(default_factory=list[Report])
    processor_s: float = 0.0

    def add(self, report: Report) -> None:
        """Count one seed."""
        few = self.fewest_solves if self.seeds else report.solves
        self.fewest_solves = min(few, report.solves)
        self.seeds += 1
        self.solves += report.solves
        self.processor_s += report.processor_s
        self.effects += report.effects
        self.faults += report.faults
        if report.violations:
            self.broken.append(report)

    def lines(self) -> list[str]:
        """Effects and faults by kind, and a closing line."""
        a_seed_ms = 1000 * self.processor_s / max(self.seeds, 1)
        return [
            _told("effects", self.seeds, self.effects),
            _told("faults", self.seeds, self.faults),
            f"{self.seeds} seeds, {self.solves} solves, {a_seed_ms:.0f} ms of one processor a seed",
            f"{len(self.broken)} seeds with violations",
        ]


def _told(what: str, seeds: int, counted: Counter[str] | Counter[Fault]) -> str:
    kinds = ", ".join(f"{n} {kind}" for kind, n in counted.most_common())
    return f"{counted.total() / max(seeds, 1):.1f} {what} a seed: {kinds}"
