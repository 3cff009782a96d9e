"""What trying something is worth: expected improvement of the best score per unit of cost.

An option is judged with the refinements that may follow on it. L of them in a row move a score by
L times the mean gain, with L times its variance, unless the lineage meets its ceiling before:

    improvement(L) = integral from the best score to 1 of P(score > u) exp(-hazard (u - start)) du

The best score is the best that is believed in, where the judge errs. Where scores are k of n the
integral is a sum over the scores there are, each reached from half a step below: a perfect score is
not a point in a tail but as likely as all that would be rounded to it.

Fresh answers are normal, but for a chance that the next is unlike all before it. By the rule of
succession one of n + 2 is; it never vanishes, and it is what finds a good answer where nothing that
was seen lets one expect it.

Where all that counts is to pass, what is improved is the chance of it: improvement(L) is the
integrand, at the score that passes.

Its worth is the largest improvement(L) / cost(L) over the horizons L. One step ahead alone would
give up lineages that need several; the number of calls that are left makes no difference.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.search.beliefs import Beliefs
from app.search.growing import Floats
from app.search.normal import cdf

Ints = npt.NDArray[np.int64]

HORIZONS: Final = np.array([0.0, 1, 2, 3, 5, 8, 12, 18, 27, 40])
"""The numbers of refinements in a row; 0 is for fresh answers alone."""
LEVELS_MAX: Final = 8
"""At so many levels, at most, the integral is taken."""
SPREAD_MIN: Final = 0.2
"""Standard deviation, at least, of a score to come, in steps of the score: equal scores do not
show that answers are equal, but that they differ by less than a step."""
JUMP_WEIGHT: Final = 0.15
"""How many of n + 2 fresh answers are unlike the others: measured from .05 to .3."""
JUMP_DECAY: Final = 3
"""P(such an answer scores above u) falls with this power of 1 - u, from the best fresh score on:
the better, the rarer. At 1, dead ends and ties lose up to .1 after 256 calls."""
SIZE_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of a gain's size, for one gain."""
VARIANCE_MIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Draw:
    """Beliefs drawn once for each voter: arrays by voter and expert, or by voter alone."""

    start: Floats
    """Mean score of a fresh answer."""
    start_variance: Floats
    """By expert alone: it is not drawn."""
    refiner: Ints
    """The expert whose gains are cheapest, who does all refining."""
    chance: Floats
    """P(the refiner gains on a live node)."""
    drift: Floats
    """The refiner's mean gain a call."""
    variance: Floats
    """And its variance."""
    hazard: Floats
    """Ceilings met per unit of score climbed."""
    jump: float
    """P(a fresh answer is unlike all before it); not drawn."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to be bettered: the best score, and the `record`, that of fresh answers.

    `step` is the resolution of the scores.
    """

    best: float
    record: float
    step: float

    @property
    def levels(self) -> Floats:
        """The scores above the best, less half a step; or the middles of as many equal parts."""
        parts = min(LEVELS_MAX, max(1, round((1 - self.best) / self.step)))
        return self.best + (1 - self.best) * (np.arange(parts) + 0.5) / parts

    @property
    def gain(self) -> float:
        """What reaching another of the levels adds."""
        return (1 - self.best) / len(self.levels)

    def hoped(self, reached: Floats, drawn: "Draw") -> Floats:
        """P(above each level), from that of normal answers and the chance of others."""
        return reached + drawn.jump * (self.jumps(self.levels) - reached)

    def jumps(self, levels: Floats) -> Floats:
        """P(a fresh answer that is unlike all before it scores above each of `levels`)."""
        room = max(1 - self.record, 1e-9)
        if room < LEVELS_MAX * self.step:
            # Too coarse: that nothing better was seen is mostly a climb which does not show.
            return np.zeros_like(levels)
        return np.minimum((1 - levels) / room, 1.0) ** JUMP_DECAY


@dataclass(frozen=True, slots=True)
class Passing:
    """A score that passes, which no answer had yet; `tries` are the fresh ones of each expert."""

    target: float
    step: float
    tries: Floats

    @property
    def levels(self) -> Floats:
        """The score that passes, less half a step."""
        return np.array([self.target - self.step / 2])

    @property
    def gain(self) -> float:
        """Passing is one whole."""
        return 1.0

    def hoped(self, reached: Floats, drawn: Draw) -> Floats:
        """At least one of n + 2, for none of n has passed, those of other experts counting half.

        (The rule of succession.) Right and wrong answers are not normal: of how often one is right
        the scores of wrong ones say little.
        """
        others = self.tries.sum() - self.tries
        return np.asarray(np.maximum(reached, 1 / (2 + self.tries + others / 2)[:, None, None]))


@dataclass(frozen=True, slots=True)
class Ends:
    """Nodes to refine: id, score, P(in vain), and how many refinements in a row may follow."""

    nodes: list[int]
    scores: Floats
    saturated: Floats
    room: Floats


def draw(
    beliefs: Beliefs, rows: list[int], price: Floats, rng: np.random.Generator, voters: int
) -> Draw:
    """One set of beliefs a voter about the experts in `rows`, whose prices are `price`."""
    shape = (voters, len(rows))
    chance = rng.beta(beliefs.gain_wins[rows], beliefs.gain_losses[rows], shape)
    normal = rng.standard_normal((2, *shape))
    stretch = np.exp(SIZE_SPREAD * normal[0] / np.sqrt(beliefs.gains[rows] + 2))
    start_variance = beliefs.fresh_variance[rows]
    start_error = np.sqrt(start_variance / (beliefs.fresh_count[rows] + 1))
    gain = chance * beliefs.gain_size[rows] * stretch
    square = chance * beliefs.gain_square[rows] * stretch * stretch
    refiner = (gain / price[:, 1]).argmax(axis=1)
    voter = np.arange(voters)
    drift = gain[voter, refiner]
    return Draw(
        start=beliefs.fresh_mean[rows] + normal[1] * start_error,
        start_variance=start_variance,
        refiner=refiner,
        chance=chance[voter, refiner],
        drift=drift,
        variance=np.maximum(square[voter, refiner] - drift * drift, VARIANCE_MIN),
        hazard=rng.standard_gamma(beliefs.ceilings, voters) / beliefs.risen,
        jump=JUMP_WEIGHT / (float(beliefs.fresh_count.sum()) + 2),
    )


def fresh_worth(drawn: Draw, standing: Standing | Passing, price: Floats, room: float) -> Floats:
    """By voter and expert: a fresh answer, which at most `room` refinements may follow."""
    levels, spread_min = standing.levels, SPREAD_MIN * standing.step
    horizons = HORIZONS[room >= HORIZONS]
    start = drawn.start[:, :, None, None]
    mean = start + (drawn.drift[:, None] * horizons)[:, None, :, None]
    variance = drawn.start_variance[:, None] + (drawn.variance[:, None] * horizons)[:, None, :]
    spread = np.maximum(np.sqrt(variance), spread_min)
    reached = cdf((mean - levels) / spread[..., None])
    reached = standing.hoped(reached, drawn)
    climb = np.maximum(levels - start, 0.0)
    # Without refining there is no climb, and so no ceiling to meet.
    survived = np.exp(-drawn.hazard[:, None, None, None] * climb * (horizons > 0)[:, None])
    improvement = (reached * survived).sum(axis=-1) * standing.gain
    cost = price[:, 0, None] + (horizons * price[drawn.refiner, 1, None])[:, None, :]
    return np.asarray((improvement / cost).max(axis=-1))


def refine_worth(drawn: Draw, standing: Standing | Passing, price: Floats, ends: Ends) -> Floats:
    """By voter and end: refining it."""
    levels, spread_min = standing.levels, SPREAD_MIN * standing.step
    horizons = HORIZONS[1:]
    scores = ends.scores[:, None, None]
    mean = scores + (drawn.drift[:, None] * horizons)[:, None, :, None]
    variance = drawn.variance[:, None] * horizons
    spread = np.maximum(np.sqrt(variance), spread_min)
    reached = cdf((mean - levels) / spread[:, None, :, None])
    survived = np.exp(-drawn.hazard[:, None, None, None] * (levels - scores))
    improvement = (reached * survived).sum(axis=-1) * standing.gain
    cost = horizons * price[drawn.refiner, 1, None]
    within = horizons <= ends.room[:, None]
    worth = np.where(within, improvement / cost[:, None, :], 0.0).max(axis=-1)
    return np.asarray(worth * (1 - ends.saturated))
