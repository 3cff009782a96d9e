"""The gate's own rule, played over recorded problems at many values of V; and its rivals.

Nothing is imitated: each decision is `app.gate.worth.weigh` on chances of the fitted model. What
the model sees before a decision is what it would have seen; the outcome is looked up after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.evaluation.figures import Ends, Sweep
from app.evaluation.recorded import Recording
from app.evaluation.split import check_split
from app.gate.fitting import fit_model
from app.gate.heads import Chances, Model, Outlook
from app.gate.worth import Arm, Ask, Price, Take, Terms, take, weigh

SETTINGS: Final = 100
V_FROM: Final = 1.0
V_TO: Final = 300.0
"""V runs from the mean strong call's cost to 300 times it."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a model that never saw this problem says of it."""

    chances: Chances
    outlooks: dict[str, tuple[Outlook, Price]]
    strong_cost: float
    labels: int


def forecasts(fitted: Sequence[Recording], judged: Sequence[Recording]) -> list[Forecast]:
    """Of each problem in `judged`, by a model fitted on `fitted` alone; raises Leak."""
    check_split(fitted, judged)
    model = fit_model([one.example for one in fitted], version="replay")
    return foretold(model, judged, ratios=opinion_ratios(model, fitted), labels=len(fitted))


def opinion_ratios(model: Model, fitted: Sequence[Recording]) -> dict[str, float]:
    """What each opinion costs for what a cheap call does."""
    return {
        name: sum(one.opinion_costs.get(name, 0.0) for one in fitted)
        / sum(one.cheap_cost for one in fitted if name in one.opinion_costs)
        for name in model.opinions
    }


def foretold(
    model: Model, judged: Sequence[Recording], *, ratios: Mapping[str, float], labels: int
) -> list[Forecast]:
    """Of each problem in `judged`, by a model that rests on so many labels."""
    found: list[Forecast] = []
    for one in judged:
        features = model.scale.standard(one.example.features)
        groups = one.example.groups
        found.append(
            Forecast(
                chances=model.chances(features, groups),
                outlooks={
                    name: (
                        model.outlook(name, features, groups),
                        Price(ratios[name] * one.cheap_cost),
                    )
                    for name in model.opinions
                    if name in one.opinion_costs
                },
                strong_cost=model.strong_cost(features, groups),
                labels=labels,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it, and where the strong arm answered: (settings, problems)."""

    sweep: Sweep
    escalated: npt.NDArray[np.bool_]


def ends(recordings: Sequence[Recording]) -> Ends:
    """Both arms alone."""
    return Ends(
        cheap_right=np.array([one.example.cheap_right for one in recordings]),
        strong_right=np.array([one.example.strong_right for one in recordings]),
        cheap_cost=np.array([one.cheap_cost for one in recordings]),
        strong_cost=np.array([one.example.strong_cost for one in recordings]),
    )


def play(recordings: Sequence[Recording], known: Sequence[Forecast]) -> Played:
    """The gate at every V, from the lowest on."""
    unit = float(np.mean([forecast.strong_cost for forecast in known]))
    values = unit * np.geomspace(V_FROM, V_TO, SETTINGS)
    escalated = np.zeros((SETTINGS, len(recordings)), dtype=np.bool_)
    paid = np.zeros(escalated.shape)
    for column, (one, forecast) in enumerate(zip(recordings, known, strict=True)):
        for row, value in enumerate(values):
            escalated[row, column], paid[row, column] = _decided(one, forecast, float(value))
    both = ends(recordings)
    right = np.where(escalated, both.strong_right, both.cheap_right)
    return Played(Sweep(right, paid + escalated * both.strong_cost), escalated)


def _decided(one: Recording, forecast: Forecast, value: float) -> tuple[bool, float]:
    """Whether the strong arm is called, and what was paid until then."""
    terms = Terms(value, Price(forecast.strong_cost), forecast.labels)
    verdict: Take | Ask = weigh(forecast.chances, forecast.outlooks, terms)
    paid = one.cheap_cost
    if isinstance(verdict, Ask):
        paid += one.opinion_costs[verdict.opinion]
        outlook, _ = forecast.outlooks[verdict.opinion]
        agreed = one.example.agreed[verdict.opinion]
        verdict = take(outlook.agreed if agreed else outlook.differed, terms)
    return verdict.arm is Arm.STRONG, paid
