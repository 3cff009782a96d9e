"""The gate's rule: which verdict, with which reason; and what more money or dearer arms change."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate import gate
from app.gate.gate import (
    Accept,
    BuyOpinion,
    Escalate,
    FirstAnswer,
    Route,
    SecondOpinion,
    Stakes,
    after_first,
    after_second,
)
from app.money import NanoUSD
from app.telemetry.metrics import REASONS

CENT = NanoUSD(10_000_000)
STAKES = Stakes(
    value=NanoUSD(5 * CENT),
    opinion_cost=NanoUSD(CENT // 100),
    strong_cost=NanoUSD(CENT // 20),
    second_opinion=SecondOpinion.AUTO,
    has_evaluator=False,
    decisive=False,
    target_score=1.0,
)
VERIFIED = replace(STAKES, has_evaluator=True, decisive=True)
FORM_ONLY = replace(STAKES, has_evaluator=True)
FINE = FirstAnswer(arrived=True, well_formed=True, score=None)
ABSENT = FirstAnswer(arrived=False, well_formed=False, score=None)
UNREADABLE = FirstAnswer(arrived=True, well_formed=False, score=None)
Verdict = Accept | BuyOpinion | Escalate


def _seen(verdict: Verdict) -> tuple[str, str | None]:
    """The verdict's route or kind, and its reason."""
    match verdict:
        case Accept(reason=reason):
            return "accept", reason
        case BuyOpinion():
            return "buy", None
        case Escalate(route=route, reason=reason):
            return route, reason


def _scored(score: float) -> FirstAnswer:
    return replace(FINE, score=score)


@pytest.mark.parametrize(
    ("first", "stakes", "verdict"),
    [
        (ABSENT, STAKES, ("strong", "no_answer")),
        (ABSENT, VERIFIED, ("search", "no_answer")),
        (UNREADABLE, STAKES, ("strong", "invalid_format")),
        (UNREADABLE, VERIFIED, ("search", "invalid_format")),
        (UNREADABLE, FORM_ONLY, ("search", "invalid_format")),
        (_scored(1.0), VERIFIED, ("accept", "verified")),
        (_scored(0.99), VERIFIED, ("search", "below_target")),
        (_scored(0.9), replace(VERIFIED, target_score=0.9), ("accept", "verified")),
        (FINE, VERIFIED, ("search", "not_scored")),
        (_scored(0.0), FORM_ONLY, ("search", "below_target")),
        (_scored(1.0), FORM_ONLY, ("buy", None)),
        (FINE, STAKES, ("buy", None)),
        (FINE, replace(STAKES, value=NanoUSD(0)), ("accept", "not_worth_it")),
        (FINE, replace(STAKES, opinion_cost=NanoUSD(3 * CENT)), ("accept", "not_worth_it")),
        (FINE, replace(STAKES, strong_cost=NanoUSD(9 * CENT)), ("accept", "not_worth_it")),
        (FINE, replace(STAKES, second_opinion=SecondOpinion.NEVER), ("accept", "unchecked")),
        (
            FINE,
            replace(STAKES, value=NanoUSD(0), second_opinion=SecondOpinion.ALWAYS),
            ("buy", None),
        ),
    ],
)
def test_first_answer_decides(
    first: FirstAnswer, stakes: Stakes, verdict: tuple[str, str | None]
) -> None:
    """The table of day 0."""
    assert _seen(after_first(first, stakes)) == verdict


@pytest.mark.parametrize(
    ("agree", "stakes", "verdict"),
    [
        (True, STAKES, ("accept", "agreement")),
        (False, STAKES, ("strong", "disagreement")),
        (True, FORM_ONLY, ("accept", "agreement")),
        (False, FORM_ONLY, ("search", "disagreement")),
        (None, STAKES, ("strong", "no_opinion")),
        (None, FORM_ONLY, ("search", "no_opinion")),
    ],
)
def test_second_opinion_decides(
    agree: bool | None,  # noqa: FBT001 - a column of the table
    stakes: Stakes,
    verdict: tuple[str, str],
) -> None:
    """Agreement stands; without it, or without an opinion, escalate to what there is."""
    assert _seen(after_second(agree=agree, stakes=stakes)) == verdict


amounts = st.integers(0, 10**12).map(NanoUSD)
stakes_of_all_kinds = st.builds(
    Stakes,
    value=amounts,
    opinion_cost=amounts,
    strong_cost=amounts,
    second_opinion=st.sampled_from(SecondOpinion),
    has_evaluator=st.booleans(),
    decisive=st.booleans(),
    target_score=st.floats(0.01, 1.0),
).map(lambda made: replace(made, decisive=made.decisive and made.has_evaluator))
first_answers = st.builds(
    FirstAnswer,
    arrived=st.booleans(),
    well_formed=st.booleans(),
    score=st.none() | st.floats(0, 1),
)


def _depth(verdict: Verdict) -> int:
    """How far a verdict goes beyond taking the answer."""
    match verdict:
        case Accept():
            return 0
        case BuyOpinion():
            return 1
        case Escalate():
            return 2


@given(first=first_answers, stakes=stakes_of_all_kinds, more=amounts)
def test_higher_value_never_lowers_escalation(
    first: FirstAnswer, stakes: Stakes, more: NanoUSD
) -> None:
    """Who would lose more by an error is never checked less."""
    dearer = replace(stakes, value=NanoUSD(stakes.value + more))
    assert _depth(after_first(first, dearer)) >= _depth(after_first(first, stakes))


@given(first=first_answers, stakes=stakes_of_all_kinds, more=amounts, much_more=amounts)
def test_dearer_arms_never_raise_escalation(
    first: FirstAnswer, stakes: Stakes, more: NanoUSD, much_more: NanoUSD
) -> None:
    """Neither a dearer strong call nor a dearer opinion is a reason to go further."""
    dearer = replace(
        stakes,
        opinion_cost=NanoUSD(stakes.opinion_cost + more),
        strong_cost=NanoUSD(stakes.strong_cost + much_more),
    )
    assert _depth(after_first(first, dearer)) <= _depth(after_first(first, stakes))


@given(first=first_answers, stakes=stakes_of_all_kinds, agree=st.none() | st.booleans())
def test_search_is_never_chosen_without_an_evaluator(
    first: FirstAnswer,
    stakes: Stakes,
    agree: bool | None,  # noqa: FBT001 - drawn
) -> None:
    """It would have nothing to climb; and with one, a single strong call is not chosen."""
    route = Route.SEARCH if stakes.has_evaluator else Route.STRONG
    for verdict in (after_first(first, stakes), after_second(agree=agree, stakes=stakes)):
        assert not isinstance(verdict, Escalate) or verdict.route is route


@given(first=first_answers, stakes=stakes_of_all_kinds)
def test_decisive_evaluator_outranks_opinions(first: FirstAnswer, stakes: Stakes) -> None:
    """Where a score settles it, none is bought; a score that reaches the target is taken."""
    verdict = after_first(first, replace(stakes, decisive=True, has_evaluator=True))
    assert not isinstance(verdict, BuyOpinion)
    fine = first.arrived and first.well_formed and first.score is not None
    reached = fine and first.score is not None and first.score >= stakes.target_score
    assert isinstance(verdict, Accept) is reached


@given(first=first_answers, stakes=stakes_of_all_kinds, agree=st.none() | st.booleans())
def test_every_verdict_says_why(
    first: FirstAnswer,
    stakes: Stakes,
    agree: bool | None,  # noqa: FBT001 - drawn
) -> None:
    """In words, and with a code that is counted by name where it is final."""
    for verdict in (after_first(first, stakes), after_second(agree=agree, stakes=stakes)):
        assert isinstance(verdict, get_args(Verdict))
        assert verdict.because
        assert isinstance(verdict, BuyOpinion) or verdict.reason in REASONS


def test_failed_opinion_is_not_told_as_another_answer() -> None:
    """It said nothing, so it cannot have disagreed."""
    verdict = after_second(agree=None, stakes=STAKES)
    assert verdict.because == "the second opinion failed"


@given(stakes=stakes_of_all_kinds)
def test_nothing_but_a_readable_answer_is_ever_accepted(stakes: Stakes) -> None:
    """No answer, or one without form, escalates whatever it is worth."""
    for first in (ABSENT, UNREADABLE):
        assert isinstance(after_first(first, stakes), Escalate)


def test_version_names_the_rule() -> None:
    """Every decision carries it, so that later rules can be told apart."""
    assert gate.VERSION == "day0"
