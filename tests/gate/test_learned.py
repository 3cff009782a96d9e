"""The learned rule: what money changes, what nothing may change, and what a text cannot do."""

from dataclasses import replace
from math import inf
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalogue import read_weights
from app.gate.document import document_of, model_from
from app.gate.evidence import HEADS
from app.gate.gate import Accept, BuyOpinion, Escalate, Route, SecondOpinion
from app.gate.heads import Model
from app.gate.learned import (
    Case,
    Judgement,
    Opening,
    Standing,
    after_first,
    after_second,
    buys_opinion,
    features_of,
    opened,
)
from app.gate.signals import Form, Logprobs, Signals, summarise
from app.gate.stack import Stack
from app.gate.text import count_text
from app.gate.worth import Price
from app.settings import GateConfig

UNSCORED: Final = Accept("not_worth_it", "nothing checks it")
MISSED: Final = Escalate(Route.SEARCH, "below_target", "scored 0.2, below the target of 1")


def _shipped() -> Model:
    document = read_weights(GateConfig())
    assert document is not None
    return model_from(document)


SHIPPED: Final = _shipped()
MODEL: Final = Stack.of(SHIPPED)

texts = st.text(max_size=400)
counts = st.integers(0, 100_000)
offsets = st.dictionaries(st.sampled_from(HEADS), st.floats(-6, 6))
standings = st.builds(
    Standing,
    version=st.just(MODEL.version),
    category=st.sampled_from([None, "maths", "choice", "unheard of"]),
    offsets=offsets,
    labels=st.integers(0, 2000),
    searches=st.integers(0, 500),
)
seen = st.builds(
    Signals,
    form=st.builds(
        Form,
        answer=st.none() | st.text(max_size=40),
        tagged=st.booleans(),
        truncated=st.booleans(),
    ),
    text=st.builds(count_text, texts, tokens=st.none() | counts),
    logprobs=st.none(),
    prompt_tokens=st.none() | counts,
)
prices = st.floats(1e3, 1e9)
cases = st.builds(
    Case,
    value=st.floats(0, 1e10),
    strong=st.builds(Price, prices),
    opinion=st.builds(Price, prices),
    search=st.builds(Price, prices),
    wanted=st.sampled_from(SecondOpinion),
    decisive=st.just(True),  # noqa: FBT003
    risk_target=st.none() | st.floats(0.001, 0.999),
)


def _escalates(standing: Standing, signals: Signals, case: Case, *, agree: bool | None) -> bool:
    """Whether the strong expert is asked in the end; `agree` is what an opinion would say."""
    said: Judgement = after_first(MODEL, standing, signals, case, untrained=UNSCORED)
    if isinstance(said.verdict, BuyOpinion):
        said = after_second(MODEL, standing, signals, case, agree=agree)
    return isinstance(said.verdict, Escalate)


@given(standings, seen, cases, st.floats(1, 1e4), st.sampled_from([True, False, None]))
def test_higher_value_never_lowers_escalation(
    standing: Standing,
    signals: Signals,
    case: Case,
    factor: float,
    agree: bool | None,  # noqa: FBT001
) -> None:
    """Whatever was learned, and whatever an opinion would say."""
    dearer_errors = replace(case, value=case.value * factor)
    before = _escalates(standing, signals, case, agree=agree)
    assert _escalates(standing, signals, dearer_errors, agree=agree) >= before


@given(standings, seen, cases, st.floats(1, 1e4), st.sampled_from([True, False, None]))
def test_dearer_strong_arm_never_raises_escalation(
    standing: Standing,
    signals: Signals,
    case: Case,
    factor: float,
    agree: bool | None,  # noqa: FBT001
) -> None:
    """Nor does one that cannot be had."""
    before = _escalates(standing, signals, case, agree=agree)
    for cost in (case.strong.cost * factor, inf):
        dearer = replace(case, strong=Price(cost))
        assert _escalates(standing, signals, dearer, agree=agree) <= before


@given(standings, seen, cases, st.floats(1, 1e4))
def test_search_is_begun_the_sooner_the_dearer_an_error(
    standing: Standing, signals: Signals, case: Case, factor: float
) -> None:
    """And never for nothing."""
    found = after_first(MODEL, standing, signals, case, untrained=MISSED)
    dearer = after_first(
        MODEL, standing, signals, replace(case, value=case.value * factor), untrained=MISSED
    )
    assert isinstance(dearer.verdict, Escalate) >= isinstance(found.verdict, Escalate)
    nothing = replace(case, value=0.0)
    verdict = after_first(MODEL, standing, signals, nothing, untrained=MISSED).verdict
    assert isinstance(verdict, Accept)
    assert verdict.reason == "hopeless"


@given(
    text=st.text()
    | st.binary(max_size=300).map(lambda junk: junk.decode("utf-8", "surrogateescape")),
    tokens=st.none() | st.integers(-5, 10**9),
    prompt=st.none() | st.integers(-5, 10**9),
    logprobs=st.none() | st.lists(st.floats(), max_size=40),
    answer=st.none() | st.text(max_size=100_000),
)
def test_whatever_is_seen_is_decided(
    text: str,
    tokens: int | None,
    prompt: int | None,
    logprobs: list[float] | None,
    answer: str | None,
) -> None:
    """Junk, NaN, nothing, a hundred thousand tokens: a chance is a chance."""
    told: Logprobs | None = None if logprobs is None else summarise(logprobs)
    signals = Signals(
        Form(answer, tagged=False, truncated=False), count_text(text, tokens=tokens), told, prompt
    )
    case = Case(5e7, Price(1e6), Price(1e5), Price(1e6), SecondOpinion.AUTO)
    found = after_first(MODEL, Standing(MODEL.version), signals, case, untrained=UNSCORED)
    assert 0 <= found.p_single <= 1
    assert 0 <= found.p_alternative <= 1
    assert len(features_of(signals)) == len(MODEL.scale.centre)


BOASTS: Final = ("confidence: 100 %", "I am absolutely certain.", "P(correct) = 1.0", "100% sure!")


@pytest.mark.parametrize("boast", BOASTS)
def test_answer_that_praises_itself_gains_next_to_nothing(boast: str) -> None:
    """No word of certainty is read; a line more is a line more, as that of any other words is."""
    plain = "We add the numbers one by one: 3 + 4 = 7, and 7 + 5 = 12.\n12"
    words = "Here is how this was done, step by step."[: len(boast)].ljust(len(boast), ".")
    case = Case(5e7, Price(1e7), Price(1e6), Price(1e7), SecondOpinion.NEVER)

    def chance(text: str) -> float:
        signals = Signals(Form("12", tagged=False, truncated=False), count_text(text), None, 30)
        at = Standing(MODEL.version)
        return after_first(MODEL, at, signals, case, untrained=UNSCORED).p_single

    assert chance(f"{boast}\n{plain}") == pytest.approx(chance(f"{words}\n{plain}"), abs=0.02)


def test_form_and_verifier_outrank_what_was_learned() -> None:
    """However sure the weights are."""
    sure = Standing(MODEL.version, offsets={"cheap": 30.0, "agreed.cheap": 30.0})
    signals = Signals(Form(None, tagged=False, truncated=True), count_text(""), None, 10)
    case = Case(5e7, Price(1e12), Price(1e12), Price(1e12), SecondOpinion.AUTO)
    for verdict in (
        Escalate(Route.STRONG, "invalid_format", "no answer could be read"),
        Escalate(Route.SEARCH, "not_scored", "no score"),
        Accept("verified", "reached"),
    ):
        assert after_first(MODEL, sure, signals, case, untrained=verdict).verdict is verdict


@given(st.integers(0, 49), st.integers(0, 2**32))
def test_few_labels_of_its_own_skip_no_call(own: int, seed: int) -> None:
    """Whatever the pools say."""
    at = Standing(
        MODEL.version, offsets={"cheap": -9.0, "strong": 9.0}, labels=10**6, own_labels=own
    )
    case = Case(1e10, Price(1.0), Price(1.0), Price(inf), SecondOpinion.AUTO)
    assert opened(MODEL, at, case, seed=seed) is at


def test_opening_follows_what_is_sure() -> None:
    """A cheap arm that is never right is skipped, a gain that is none locks it, most are begun."""
    case = Case(1e9, Price(1e6), Price(1e5), Price(inf), SecondOpinion.AUTO)
    sure = Standing(MODEL.version, labels=10_000, own_labels=100)
    hopeless = replace(sure, offsets={"cheap": -9.0, "strong": 2.0})
    lossless = replace(sure, offsets={"cheap": 9.0, "strong": 2.0})
    for standing, opening in ((hopeless, Opening.STRONG), (lossless, Opening.LOCKED)):
        found = [opened(MODEL, standing, case, seed=seed) for seed in range(200)]
        begun = [one for one in found if one.opening is opening]
        assert {one.propensity for one in begun} == {0.95}
        assert {one.opening for one in found} == {opening, Opening.CHEAP}
        assert len(begun) > 170
    dear = replace(case, strong=Price(inf))
    assert opened(MODEL, hopeless, dear, seed=1).opening is Opening.CHEAP
    assert opened(MODEL, sure, case, seed=1).opening is Opening.CHEAP


def test_document_is_the_model() -> None:
    """And its version is told by its content."""
    document = document_of(SHIPPED)
    again = model_from(document)
    assert document_of(again) == document
    assert again.version == MODEL.version == document["version"]


@given(standings, seen, cases, st.floats(0.001, 0.999), st.sampled_from([True, False, None]))
def test_risk_target_only_narrows_what_value_accepts(
    standing: Standing,
    signals: Signals,
    case: Case,
    target: float,
    agree: bool | None,  # noqa: FBT001
) -> None:
    """What V escalates stays escalated; what is still accepted is sure enough, or none is surer."""
    free, bound = replace(case, risk_target=None), replace(case, risk_target=target)
    before = _escalates(standing, signals, free, agree=agree)
    assert _escalates(standing, signals, bound, agree=agree) >= before
    said = after_second(MODEL, standing, signals, bound, agree=agree)
    if isinstance(said.verdict, Accept):
        assert 1 - said.p_single <= target or said.p_alternative <= said.p_single


def test_risk_target_says_why_it_escalates() -> None:
    """Where an error is worth nothing, and so V would accept whatever was said."""
    case = Case(0.0, Price(1e6), Price(1e5), Price(inf), SecondOpinion.NEVER, risk_target=0.001)
    signals = Signals(Form("7", tagged=True, truncated=False), count_text("7", tokens=1), None, 10)
    said = after_first(MODEL, Standing(MODEL.version), signals, case, untrained=UNSCORED)
    assert isinstance(said.verdict, Escalate)
    assert said.verdict.reason == "risk_target"
    assert "more than is wanted" in said.verdict.because


@given(standings, cases)
def test_opinion_is_foreseen_only_where_one_may_be_bought(standing: Standing, case: Case) -> None:
    """Always where it is always wanted, and nothing settles the answer for free."""
    asked = replace(case, decisive=False)
    wanted = {one: replace(asked, wanted=one) for one in SecondOpinion}
    assert buys_opinion(MODEL, standing, wanted[SecondOpinion.ALWAYS])
    assert not buys_opinion(MODEL, standing, wanted[SecondOpinion.NEVER])
    assert not buys_opinion(MODEL, standing, replace(asked, decisive=True))
    locked = replace(standing, opening=Opening.LOCKED)
    assert not buys_opinion(MODEL, locked, wanted[SecondOpinion.AUTO])
