"""The gate's rule: is the cheap answer good enough, and if not, what is worth trying next?

Pure: what is known goes in, a verdict with its reasons comes out. This is the untrained rule: it
decides where there are no learned weights (`learned.py`) or they fail, and what it says of an
answer's form and of a decisive evaluator always stands. An answer without form escalates; a
decisive evaluator outranks agreement; without one an opinion is bought when the price of an error
allows, and disagreement escalates to one strong call. A search without an evaluator has nothing to
climb, so it is never chosen.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.money import NanoUSD

VERSION: Final = "day0"

ERRORS_CORRECTED: Final = (1, 20)
DISAGREEMENTS: Final = (1, 3)
"""Day-0 beliefs about a second opinion, a request: how many errors it corrects, net of right
answers that the strong model spoils, and how often it disagrees and so leads to a strong call.

Measured on recorded pairs: Zero-Eval gpt-4o-mini to gpt-4o .056 and to claude-3.5-sonnet .060 net,
.34 disagree (gemini-1.5-flash as the opinion); reasoning-gym llama-4-maverick to claude-sonnet-4
.126 net, .72 disagree (mistral-small-3.1). The cautious end is taken.
"""


class Route(StrEnum):
    """How an answer came about."""

    SINGLE = "single"
    STRONG = "strong"
    SEARCH = "search"
    PARALLEL = "parallel"


class SecondOpinion(StrEnum):
    """When a second cheap answer is bought."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Stakes:
    """What the decision is about, in nano-dollars.

    `value` is V, the price of a wrong answer; the costs are those expected of a second opinion and
    of a strong call. `has_evaluator` says whether answers can be scored, `decisive` whether a
    score settles correctness; `target_score` is the score to reach.
    """

    value: NanoUSD
    opinion_cost: NanoUSD
    strong_cost: NanoUSD
    second_opinion: SecondOpinion
    has_evaluator: bool
    decisive: bool
    target_score: float


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first answer shows: did it arrive, in form, and with what score (None: unscored)."""

    arrived: bool
    well_formed: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Accept:
    """The answer stands."""

    reason: str
    because: str


@dataclass(frozen=True, slots=True)
class BuyOpinion:
    """Ask once more before deciding."""

    because: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """Spend more: on one strong call, or on a search."""

    route: Route
    reason: str
    because: str


def after_first(first: FirstAnswer, stakes: Stakes) -> Accept | BuyOpinion | Escalate:
    """The verdict once the first answer is in hand."""
    route = Route.SEARCH if stakes.has_evaluator else Route.STRONG
    if not first.arrived:
        return Escalate(route, "no_answer", "the first call gave no answer")
    if not first.well_formed:
        return Escalate(route, "invalid_format", "no answer could be read from the first reply")
    if first.score is not None and first.score < stakes.target_score:
        shortfall = f"scored {first.score:.3g}, below the target of {stakes.target_score:.3g}"
        return Escalate(route, "below_target", shortfall)
    if not stakes.decisive:
        return _without_verifier(stakes)
    if first.score is None:
        return Escalate(route, "not_scored", "the evaluator could not score the first answer")
    return Accept("verified", f"scored {first.score:.3g}, which reaches the target")


def after_second(*, agree: bool | None, stakes: Stakes) -> Accept | Escalate:
    """The verdict once a second opinion was asked for; `agree` is None where its call failed."""
    if agree:
        return Accept("agreement", "a second opinion gave the same answer")
    route = Route.SEARCH if stakes.has_evaluator else Route.STRONG
    if agree is None:
        return Escalate(route, "no_opinion", "the second opinion failed")
    return Escalate(route, "disagreement", "a second opinion gave another answer")


def _without_verifier(stakes: Stakes) -> Accept | BuyOpinion:
    match stakes.second_opinion:
        case SecondOpinion.ALWAYS:
            return BuyOpinion("a second opinion is always wanted")
        case SecondOpinion.NEVER:
            return Accept("unchecked", "nothing can check the answer and no opinion is wanted")
        case SecondOpinion.AUTO:
            if _opinion_pays(stakes):
                return BuyOpinion("a second opinion prevents more than it costs")
            return Accept("not_worth_it", "a second opinion costs more than the errors it prevents")


def _opinion_pays(stakes: Stakes) -> bool:
    # value * corrected > opinion + disagreements * strong, in integers.
    corrected, of_requests = ERRORS_CORRECTED
    disagree, of_opinions = DISAGREEMENTS
    worth = stakes.value * corrected * of_opinions
    costs = stakes.opinion_cost * of_opinions + stakes.strong_cost * disagree
    return worth > costs * of_requests
