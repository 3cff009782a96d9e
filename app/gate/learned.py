"""The learned gate's verdicts: what the untrained rule leaves open, by value of computation.

What an answer's form and a decisive evaluator say outranks anything learned, and stays the
untrained rule's (`gate.py`). Learned are three things: how to begin where a tenant's own labels
leave no doubt, whether an answer that nothing can check is accepted, confirmed or escalated, and
whether a search is worth beginning where the evaluator has refused the first answer. Pure: the same
case under the same standing gives the same verdict, at any time and in any replica.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from random import Random
from typing import Final

from app.gate.audited import Certified
from app.gate.gate import Accept, BuyOpinion, Escalate, Route, SecondOpinion
from app.gate.heads import Chances, Outlook, gain
from app.gate.reasons import spoken
from app.gate.signals import Signals, vector
from app.gate.stack import SECOND, Stack
from app.gate.weights import trust
from app.gate.worth import Arm, Ask, Price, Take, Terms, evsi, take, take_verified, weigh

SURE_LABELS: Final = 50
"""Labels of a tenant's own, of both arms, without which no call is skipped."""
SELDOM_RIGHT: Final = 0.1
"""P(cheap right) below which its call may be skipped."""
NO_GAIN: Final = 0.01
"""A gain up to this locks the cheap arm."""
EVEN: Final = 0.5
"""The least chance that a search is given before any was labelled."""
EXPLORED: Final = 0.05
"""Share of requests that are begun as usual though they need not: labels do not dry up."""


EXPECTED_GAIN: Final = "expected_gain"
LOCKED: Final = "locked"
HOPELESS: Final = "hopeless"
CHEAP_HOPELESS: Final = "cheap_hopeless"
RISK: Final = "risk_target"
REASONS: Final = (EXPECTED_GAIN, LOCKED, HOPELESS, CHEAP_HOPELESS, RISK)
"""Beside those of the untrained rule."""


class Opening(StrEnum):
    """How a solve begins, decided before any call."""

    CHEAP = "cheap"
    STRONG = "strong"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a solve's decision rests on beside its answers, written down when it is admitted.

    `offsets` is by how much labels have moved each head's log-odds; `labels` how many problems with
    both arms' outcomes those are, `own_labels` how many of them are this tenant's and category's.
    `propensity` is how likely the opening was; `pooled` says whether what the solve teaches also
    counts for others. `searches` is how many searches' ends were labelled. `certificate` is what
    audits of accepted answers had shown by then; `audit_share` how likely this one's audit is.
    """

    version: str
    category: str | None = None
    offsets: Mapping[str, float] = field(default_factory=dict[str, float])
    labels: int = 0
    own_labels: int = 0
    searches: int = 0
    opening: Opening = Opening.CHEAP
    propensity: float = 1.0
    pooled: bool = True
    certificate: Certified | None = None
    audit_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is at stake, in nano-dollars; a step that is not to be had costs infinitely much.

    `decisive` says whether a score settles correctness. `risk_target` is the most that P(wrong) of
    an accepted answer may be.
    """

    value: float
    strong: Price
    opinion: Price
    search: Price
    wanted: SecondOpinion
    decisive: bool = False
    risk_target: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, P(right) of the cheap answer and of the best alternative, and what that is worth.

    `gain` is in nano-dollars: by how much the arm taken beats accepting, 0 where it is accepted.
    """

    verdict: Accept | BuyOpinion | Escalate
    p_single: float
    p_alternative: float
    gain: float
    reasons: tuple[str, ...] = ()


def opened(model: Stack, standing: Standing, case: Case, *, seed: int) -> Standing:
    """The standing with its opening, before any call: skip the cheap one, lock it, or neither.

    By the chances of an average problem of its category. `seed` draws which are explored.
    """
    if standing.own_labels < SURE_LABELS:
        return standing
    chances = _average(model, standing)
    terms = _terms(model, standing, case)
    worth = take(chances, terms)
    opening = Opening.CHEAP
    if chances.cheap <= SELDOM_RIGHT and worth.arm is Arm.STRONG:
        opening = Opening.STRONG
    elif gain(chances, terms.labels) <= NO_GAIN and worth.arm is Arm.ACCEPT:
        opening = Opening.LOCKED
    if opening is Opening.CHEAP:
        return standing
    if Random(f"{seed}:opening").random() < EXPLORED:
        return replace(standing, propensity=EXPLORED)
    return replace(standing, opening=opening, propensity=1 - EXPLORED)


def buys_opinion(model: Stack, standing: Standing, case: Case) -> bool:
    """Whether an average problem of the category would have a second opinion, before any call."""
    if case.decisive or standing.opening is not Opening.CHEAP:
        return False
    found = model.forecast(model.average(), standing.category, standing.offsets)
    verdict = _weighed(found.now, found.outlook, _terms(model, standing, case), case).said
    if isinstance(verdict, Accept):
        return isinstance(_narrowed(found.now, found.outlook, case), BuyOpinion)
    return isinstance(verdict, BuyOpinion)


def unasked(model: Stack, standing: Standing, case: Case) -> Judgement:
    """Of a solve that skips the cheap call."""
    chances = _average(model, standing)
    worth = case.value * gain(chances, _terms(model, standing, case).labels) - case.strong.cost
    why = f"the cheap answer is right in {chances.cheap:.0%} of such problems"
    return Judgement(
        Escalate(Route.STRONG, CHEAP_HOPELESS, why), chances.cheap, chances.strong, max(worth, 0.0)
    )


def after_first(
    model: Stack,
    standing: Standing,
    seen: Signals,
    case: Case,
    *,
    untrained: Accept | BuyOpinion | Escalate,
) -> Judgement:
    """The verdict on a first answer, given the untrained rule's."""
    features = model.features(seen)
    found = model.forecast(features, standing.category, standing.offsets)
    chances = found.chances
    terms = _terms(model, standing, case)
    if isinstance(untrained, Escalate):
        if untrained.reason == "below_target" and case.decisive:
            return _climb(chances, standing, terms, case, untrained)
        return Judgement(untrained, chances.cheap, _best(untrained.route, chances), 0.0)
    if isinstance(untrained, Accept) and untrained.reason == "verified":
        return Judgement(untrained, 1.0, chances.strong, 0.0)
    now = found.now
    said = spoken(model.matrix[0], features)
    if standing.opening is Opening.LOCKED:
        why = "such problems gain nothing from a stronger model"
        verdict = _Weighed(Accept(LOCKED, why), 0.0, doubts=False)
    else:
        verdict = _weighed(now, found.outlook, terms, case)
    if isinstance(verdict.said, Accept):
        narrowed = _narrowed(now, found.outlook, case)
        verdict = verdict if narrowed is None else _Weighed(narrowed, 0.0, doubts=True)
    return Judgement(verdict.said, now.cheap, now.strong, verdict.worth, said(verdict.doubts))


def after_second(
    model: Stack, standing: Standing, seen: Signals, case: Case, *, agree: bool | None
) -> Judgement:
    """The verdict once a second opinion was asked for; `agree` is None where its call failed."""
    features = model.features(seen)
    known = model.forecast(features, standing.category, standing.offsets)
    chances = known.now
    if known.outlook is not None and agree is not None:
        chances = known.outlook.agreed if agree else known.outlook.differed
    said = {
        None: "the second opinion failed",
        True: "a second opinion gave the same answer",
        False: "a second opinion gave another answer",
    }[agree]
    found = take(chances, _terms(model, standing, case))
    spoke = spoken(model.matrix[0], features)
    if found.arm is Arm.ACCEPT:
        reason = {None: "not_worth_it", True: "agreement", False: "not_worth_it"}[agree]
        verdict: Accept | Escalate = Accept(reason, said)
    else:
        reason = {None: "no_opinion", True: EXPECTED_GAIN, False: "disagreement"}[agree]
        verdict = Escalate(Route.STRONG, reason, said)
    if isinstance(verdict, Accept):
        narrowed = _narrowed(chances, None, case)
        verdict = narrowed if isinstance(narrowed, Escalate) else verdict
    doubts = isinstance(verdict, Escalate)
    return Judgement(verdict, chances.cheap, chances.strong, found.worth, spoke(doubts))


def _narrowed(now: Chances, outlook: Outlook | None, case: Case) -> BuyOpinion | Escalate | None:
    """What is done instead of accepting an answer that is riskier than the caller wants.

    None where it is not, or where no arm is surer. An opinion is bought where what it says settles
    it, whatever V is: so a higher V, which may buy one by itself, escalates no less.
    """
    if not _too_risky(now, case):
        return None
    risk = f"the answer is wrong with {1 - now.cheap:.0%}, more than is wanted"
    sold = outlook is not None and case.wanted is not SecondOpinion.NEVER
    ends = [outlook.agreed, outlook.differed] if outlook is not None and sold else [now]
    climbs = [_too_risky(end, case) and end.strong > end.cheap for end in ends]
    if case.strong.cost == inf or not any(climbs):
        return None
    return Escalate(Route.STRONG, RISK, risk) if all(climbs) else BuyOpinion(risk)


def _too_risky(chances: Chances, case: Case) -> bool:
    return case.risk_target is not None and 1 - chances.cheap > case.risk_target


@dataclass(frozen=True, slots=True)
class _Weighed:
    said: Accept | BuyOpinion | Escalate
    worth: float
    doubts: bool


def _weighed(now: Chances, outlook: Outlook | None, terms: Terms, case: Case) -> _Weighed:
    sold: dict[str, tuple[Outlook, Price]] = {}
    if outlook is not None and case.wanted is not SecondOpinion.NEVER:
        sold[SECOND] = (outlook, case.opinion)
    if outlook is not None and case.wanted is SecondOpinion.ALWAYS:
        worth = evsi(outlook, terms) - terms.burden(case.opinion)
        return _Weighed(
            BuyOpinion("a second opinion is always wanted"), max(worth, 0.0), doubts=True
        )
    found: Take | Ask = weigh(now, sold, terms)
    if isinstance(found, Ask):
        why = "a second opinion prevents more than it costs"
        return _Weighed(BuyOpinion(why), found.worth, doubts=True)
    if found.arm is Arm.STRONG:
        why = "a strong call is expected to gain more than it costs"
        return _Weighed(Escalate(Route.STRONG, EXPECTED_GAIN, why), found.worth, doubts=True)
    why = "nothing that could be tried is expected to gain what it costs"
    return _Weighed(Accept("not_worth_it", why), 0.0, doubts=False)


def _climb(
    chances: Chances, standing: Standing, terms: Terms, case: Case, untrained: Escalate
) -> Judgement:
    """An evaluator has refused the answer: search, or leave it where that is hopeless.

    Searches differ more than models do, so until its own are labelled, one has an even chance.
    """
    sure = trust(standing.searches)
    search = sure * chances.search + (1 - sure) * max(EVEN, chances.search)
    known = Chances(cheap=0.0, strong=0.0, search=search)
    # The strong expert is among those that a search asks, and it goes on where that one fails.
    found = take_verified(known, replace(terms, strong=Price(inf)), case.search)
    if found.arm is Arm.SEARCH:
        return Judgement(untrained, 0.0, search, found.worth)
    why = f"a search would solve {search:.0%} of such problems, and cost more than that is worth"
    return Judgement(Accept(HOPELESS, f"{untrained.because}; {why}"), 0.0, search, 0.0)


def _average(model: Stack, standing: Standing) -> Chances:
    return model.forecast(model.average(), standing.category, standing.offsets).chances


def _terms(model: Stack, standing: Standing, case: Case) -> Terms:
    return Terms(case.value, case.strong, labels=model.labels + standing.labels)


def _best(route: Route, chances: Chances) -> float:
    return chances.search if route is Route.SEARCH else chances.strong


def features_of(seen: Signals) -> tuple[float, ...]:
    """The features as they are kept beside a label: no text, only counts."""
    return tuple(round(float(value), 6) for value in vector(seen))
