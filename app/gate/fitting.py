"""Fitting a model from problems whose arms' outcomes are known. Never on a request's way.

All levels of a head are fitted together: the shared weights, and for each category what it adds to
the constant, in the very proportion n / (n + 50) in which it will count. The heads after an opinion
are the shared ones plus a difference with a stronger prior, so that a rare outcome borrows from the
common one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np

from app.gate.heads import Heads, Model, OpinionHeads, Scale
from app.gate.logistic import Array, fit_linear, fit_logistic
from app.gate.weights import Addition, Weights, trust

FREE: Final = 1e-3
PRECISION: Final = 30.0
"""Of a standardised feature's weight: the prior is worth some hundred labels."""
DIFFERENCE: Final = 100.0
"""Of what an opinion's outcome changes in a feature's weight."""
GROUP_PRECISION: Final = 0.07
"""Of an addition before it is shrunk by n / (n + 50): at 25 labels, 0.6."""
GROUP_DIFFERENCE: Final = 1.0

Solver = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Example:
    """A problem and what its arms came to: 0 or 1, the share of several samples, NaN if unknown.

    `features` is not yet standardised; `agreed` says of each opinion at hand whether it agreed;
    `strong_cost` is what the strong call cost, above 0.
    """

    features: Array
    groups: tuple[str, ...]
    cheap_right: float
    strong_right: float
    strong_cost: float
    agreed: Mapping[str, bool]
    search_right: float = nan


def fit_model(examples: Sequence[Example], *, version: str) -> Model:
    """The model of greatest posterior density; the same examples give the same model."""
    raw = np.array([example.features for example in examples])
    scale = Scale(raw.mean(axis=0), raw.std(axis=0) + 1e-6)
    table = _Table.of(scale.standard(raw), [example.groups for example in examples])
    cheap = np.array([example.cheap_right for example in examples])
    strong = np.array([example.strong_right for example in examples])
    search = np.array([example.search_right for example in examples])
    log_cost = np.log([example.strong_cost for example in examples])
    opinions = {
        name: _opinion(table, cheap, strong, [example.agreed.get(name) for example in examples])
        for name in sorted({name for example in examples for name in example.agreed})
    }
    cost_weights, fitted = table.fit(fit_linear, log_cost)
    return Model(
        version=version,
        scale=scale,
        heads=Heads(
            cheap=table.fit(fit_logistic, cheap)[0],
            strong=table.fit(fit_logistic, strong)[0],
            search=None if np.isnan(search).all() else table.fit(fit_logistic, search)[0],
        ),
        opinions=opinions,
        strong_log_cost=cost_weights,
        strong_smear=_smear(log_cost - fitted),
    )


def _smear(residuals: Array) -> float:
    known = residuals[~np.isnan(residuals)]
    return float(np.exp(known).mean()) if known.size else 1.0


@dataclass(frozen=True, slots=True)
class _Table:
    """Standardised features, and a column a group that holds its trust where a row is of it."""

    features: Array
    members: Array
    counts: Mapping[str, int]

    @staticmethod
    def of(features: Array, groups: Sequence[tuple[str, ...]]) -> "_Table":
        counts = Counter(group for row in groups for group in row)
        names = {group: column for column, group in enumerate(sorted(counts))}
        members: Array = np.zeros((len(features), len(names)), dtype=np.float64)
        for row, of_row in enumerate(groups):
            for group in of_row:
                members[row, names[group]] = trust(counts[group])
        return _Table(features, members, {group: counts[group] for group in names})

    def fit(self, solver: Solver, labels: Array) -> tuple[Weights, Array]:
        """One head from the rows whose label is known, and its log-odds or values of all rows."""
        columns = np.hstack((self.features, self.members))
        known = ~np.isnan(labels)
        precision = self._precision(FREE, PRECISION, GROUP_PRECISION)
        found = solver(columns[known], labels[known], precision)
        return self._weights(found, int(known.sum())), columns @ found

    def fit_parted(self, labels: Array, agreed: Array) -> tuple[Weights, Weights]:
        """The heads where an opinion agreed (1 in `agreed`) and where it did not (0)."""
        columns = np.hstack((self.features, self.members))
        precision = np.concatenate(
            (
                self._precision(FREE, PRECISION, GROUP_PRECISION),
                self._precision(0.1, DIFFERENCE, GROUP_DIFFERENCE),
            )
        )
        parted, known = np.hstack((columns, columns * agreed[:, None])), ~np.isnan(labels)
        base, difference = np.split(fit_logistic(parted[known], labels[known], precision), 2)
        count = int(known.sum())
        return self._weights(base + difference, count), self._weights(base, count)

    def rows(self, chosen: Array) -> "_Table":
        """Those where `chosen`, with the trust of the whole."""
        return _Table(self.features[chosen > 0], self.members[chosen > 0], self.counts)

    def _precision(self, constant: float, feature: float, group: float) -> Array:
        found = np.full(self.features.shape[1] + len(self.counts), feature)
        found[0], found[self.features.shape[1] :] = constant, group
        return found

    def _weights(self, found: Array, labels: int) -> Weights:
        width = self.features.shape[1]
        additions: dict[str, Addition] = {}
        for column, (group, count) in enumerate(self.counts.items()):
            added = np.zeros_like(found[:width])
            added[0] = found[width + column]
            additions[group] = Addition(added, count)
        return Weights(found[:width], additions, labels)


def _opinion(
    table: _Table, cheap: Array, strong: Array, outcomes: Sequence[bool | None]
) -> OpinionHeads:
    asked = np.array([float(outcome is not None) for outcome in outcomes])
    agreed = np.array([float(outcome) for outcome in outcomes if outcome is not None])
    known = table.rows(asked)
    cheap_agreed, cheap_differed = known.fit_parted(cheap[asked > 0], agreed)
    strong_agreed, strong_differed = known.fit_parted(strong[asked > 0], agreed)
    return OpinionHeads(
        agrees=known.fit(fit_logistic, agreed)[0],
        agreed=Heads(cheap_agreed, strong_agreed, search=None),
        differed=Heads(cheap_differed, strong_differed, search=None),
    )
