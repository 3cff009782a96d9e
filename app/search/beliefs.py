"""What `fathom` believes of fresh answers, of refining, and of ceilings and who has hit one.

Experts are shrunk to their pool, by one or two pseudo-observations. Whether a lineage is saturated
and how often its experts gain are each needed for the other: a fail in a dead lineage says nothing
about the expert. So each tell takes one step of expectation-maximisation from the last beliefs.
"""

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from app.search.growing import Floats
from app.search.lineages import NO_ORIGIN, Lineages

# The pool's own prior: what is believed before anything was seen. None of these were tuned.
FRESH_MEAN: Final = 0.3
FRESH_VARIANCE: Final = 0.15**2
FRESH_WEIGHT: Final = 3
GAIN_CHANCE: Final = 0.4
GAIN_SIZE: Final = 0.06
GAIN_WEIGHT: Final = 2
CEILINGS: Final = 0.5
"""Pseudo-ceilings met, and pseudo-score risen until then."""

CEILING_ODDS_MAX: Final = 0.3
"""Odds, at most, that the ceiling lay inside a lineage's last step: its fails must tell.

Measured at 3, 1, .3 and .1. At .3 the mean best after 64 calls is .06 above that at 3 where scores
are quarters and .02 where they are tenths, and .05 below it where single nodes are dead ends.
"""

SHARED_ODDS: Final = 30.0
"""Prior odds that the branches of a lineage share its ceiling, against dead ends of single nodes.

Measured from 3 to 100: at 3 the stepping back costs .05 where ceilings are shared, at 30 nothing
that could be told from chance, and it still finds most of the way around single dead ends.
"""
DEAD_END_CHANCE: Final = 1 / 3
"""How often a branch would be dead as well if single nodes, not lineages, were dead ends."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Arrays by expert (row of `Skills`) or by lineage; fresh scores are normal."""

    fresh_mean: Floats
    fresh_variance: Floats
    fresh_count: Floats
    gain_wins: Floats
    """With `gain_losses`: the beta distribution of P(a refinement of a live top gains)."""
    gain_losses: Floats
    gains: Floats
    """How many gains `gain_size` and `gain_square` were learned from."""
    gain_size: Floats
    gain_square: Floats
    ceilings: float
    """Ceilings met, over `risen` units of score climbed in all: a gamma distribution's shape."""
    risen: float
    own: Floats
    """P(the lineage has hit a ceiling), by its own refinements."""
    shared: float
    """P(branches share the ceiling of their origin)."""
    saturated: Floats
    """P(the lineage has hit a ceiling), by its own refinements and its origin's."""


def believe(lineages: Lineages, noise: float = 0.0) -> Beliefs:
    """What the counts mean, one step on from what `lineages.saturated` says.

    `noise`: the judge's error, which makes fresh answers seem to vary more than they do.
    """
    fresh_mean, fresh_variance = _fresh(lineages)
    live = 1.0 - lineages.saturated.rows
    settled, gains, total, squares = lineages.skills.steps.rows.T
    tries = settled + live @ lineages.fails.rows
    pool = (gains.sum() + GAIN_WEIGHT * GAIN_CHANCE) / (tries.sum() + GAIN_WEIGHT)
    wins = gains + 2 * pool
    losses = np.maximum(tries - gains, 0.0) + 2 * (1 - pool)
    pool_size = (total.sum() + GAIN_WEIGHT * GAIN_SIZE) / (gains.sum() + GAIN_WEIGHT)
    size = (total + 2 * pool_size) / (gains + 2)
    before = lineages.experience
    ceilings = CEILINGS + before.ceilings + lineages.saturated.rows.sum()
    risen = CEILINGS + before.risen + (lineages.best.rows - lineages.first.rows).sum()
    weights = tries + 1e-9
    typical_size = weights @ size / weights.sum()
    prior_odds = min(ceilings / risen * typical_size, CEILING_ODDS_MAX)
    own = _own(lineages, live, wins / (wins + losses), prior_odds)
    shared = _shared(lineages, own)
    return Beliefs(
        fresh_mean=fresh_mean,
        fresh_variance=np.maximum(fresh_variance - noise**2, 0.1 * fresh_variance),
        fresh_count=lineages.skills.fresh.rows[:, 0],
        gain_wins=wins,
        gain_losses=losses,
        gains=gains,
        gain_size=size,
        gain_square=(squares + 4 * pool_size**2) / (gains + 2),
        ceilings=ceilings,
        risen=risen,
        own=own,
        shared=shared,
        saturated=_with_origin(lineages, own, shared),
    )


def _fresh(lineages: Lineages) -> tuple[Floats, Floats]:
    """Mean and variance of each expert's fresh answers."""
    count, total, squares = lineages.skills.fresh.rows.T
    answers, seen = count.sum(), np.count_nonzero(count)
    pool_mean = (total.sum() + FRESH_MEAN) / (answers + 1)
    own_mean = total / np.maximum(count, 1)
    deviation = np.maximum(squares - total * own_mean, 0.0)
    pool_variance = (deviation.sum() + FRESH_WEIGHT * FRESH_VARIANCE) / (
        answers - seen + FRESH_WEIGHT
    )
    disagreement = count / (count + 1) * (own_mean - pool_mean) ** 2
    return (total + pool_mean) / (count + 1), (3 * pool_variance + deviation + disagreement) / (
        3 + count
    )


def _own(lineages: Lineages, live: Floats, chance: Floats, prior_odds: float) -> Floats:
    """P(saturated) of each lineage, by who failed there and how many of the fails were ties."""
    fails, ties = lineages.fails.rows, lineages.ties.rows
    failed = fails.sum(axis=1)
    overall = (lineages.disproved_ties + ties.sum() + 0.5) / (
        lineages.disproved_fails + failed.sum() + 1
    )
    dead = lineages.saturated.rows
    if_live = (lineages.disproved_ties + live @ ties + 2 * overall) / (
        lineages.disproved_fails + live @ failed + 2
    )
    if_dead = (dead @ ties + 2 * overall) / (dead @ failed + 2)
    log_odds = (
        log(prior_odds)
        - fails @ np.log1p(-np.minimum(chance, 0.95))
        + ties * log(if_dead / if_live)
        + (failed - ties) * log((1 - if_dead) / (1 - if_live))
    )
    return _probability(log_odds)


def _shared(lineages: Lineages, own: Floats) -> float:
    """P(branches share the ceiling of their origin), by how many died and how many passed it."""
    branches = np.flatnonzero(lineages.origin.rows != NO_ORIGIN)
    if not branches.size:
        return SHARED_ODDS / (1 + SHARED_ODDS)
    origins = lineages.origin.rows[branches].astype(np.int64)
    passed, doubt = lineages.passed.rows[branches], lineages.doubt.rows[branches]
    died = (own[branches] * own[origins] * (1 - passed)).sum()
    log_odds = (
        log(SHARED_ODDS)
        - died * log(DEAD_END_CHANCE)
        # To pass an origin that was surely saturated is next to impossible under one ceiling.
        + np.log(1 - 0.9 * doubt * passed).sum()
    )
    return float(_probability(np.array([log_odds]))[0])


def _with_origin(lineages: Lineages, own: Floats, shared: float) -> Floats:
    """A branch that has not passed its origin is dead too if the two share a ceiling."""
    branches = np.flatnonzero((lineages.origin.rows != NO_ORIGIN) & (lineages.passed.rows == 0))
    if not branches.size:
        return own
    saturated = own.copy()
    origins = lineages.origin.rows[branches].astype(np.int64)
    saturated[branches] = 1 - (1 - own[branches]) * (1 - shared * own[origins])
    return saturated


def _probability(log_odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
