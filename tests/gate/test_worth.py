"""The value-of-computation rule: what money changes, and what nothing may change."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.heads import Chances, Outlook
from app.gate.worth import Arm, Ask, Price, Take, Terms, evsi, take, take_verified, weigh

shares = st.floats(0, 1)
chances = st.builds(Chances, shares, shares, shares)
outlooks = st.builds(Outlook, shares, chances, chances)
costs = st.floats(1e-3, 1e3)
Sold = list[tuple[Outlook, float]]
sales = st.lists(st.tuples(outlooks, costs), max_size=2)
labels = st.integers(0, 10_000)
terms = st.builds(Terms, value=st.floats(0, 1e6), strong=st.builds(Price, costs), labels=labels)

HELPS = Chances(cheap=0.2, strong=0.8, search=0.9)
MANY = 10**9
"""Labels at which the learned gain is all that counts."""


def _escalates(sold: Sold, stakes: Terms, *, agree: tuple[bool, bool]) -> bool:
    """Whether the strong arm is called in the end; `agree` is what either opinion would say."""
    known = {str(place): (outlook, Price(price)) for place, (outlook, price) in enumerate(sold)}
    verdict: Take | Ask = weigh(HELPS, known, stakes)
    if isinstance(verdict, Ask):
        place = int(verdict.opinion)
        outlook, _ = sold[place]
        verdict = take(outlook.agreed if agree[place] else outlook.differed, stakes)
    return verdict.arm is Arm.STRONG


def _asked(sold: dict[str, tuple[Outlook, Price]], stakes: Terms) -> tuple[str, float]:
    verdict = weigh(HELPS, sold, stakes)
    assert isinstance(verdict, Ask)
    return verdict.opinion, round(verdict.worth, 3)


@given(sales, terms, st.floats(1, 1e4), st.tuples(st.booleans(), st.booleans()))
def test_higher_value_never_lowers_escalation(
    sold: Sold, stakes: Terms, factor: float, agree: tuple[bool, bool]
) -> None:
    """Whatever the opinions would say, and whether or not one is bought."""
    dearer_errors = replace(stakes, value=stakes.value * factor)
    before = _escalates(sold, stakes, agree=agree)
    assert _escalates(sold, dearer_errors, agree=agree) >= before


@given(sales, terms, st.floats(1, 1e4), st.tuples(st.booleans(), st.booleans()))
def test_dearer_strong_arm_never_raises_escalation(
    sold: Sold, stakes: Terms, factor: float, agree: tuple[bool, bool]
) -> None:
    """Nor does it make an opinion look like a reason to."""
    dearer = replace(stakes, strong=Price(stakes.strong.cost * factor))
    before = _escalates(sold, stakes, agree=agree)
    assert _escalates(sold, dearer, agree=agree) <= before


@given(chances, terms, costs, st.floats(1, 1e4))
def test_verified_arms_rise_with_value(
    now: Chances, stakes: Terms, price: float, factor: float
) -> None:
    """The arm that is taken at a higher V is never less likely right."""
    exact = replace(stakes, labels=MANY)
    low = take_verified(now, exact, Price(price))
    high = take_verified(now, replace(exact, value=exact.value * factor), Price(price))
    right = {Arm.ACCEPT: now.cheap, Arm.STRONG: now.strong, Arm.SEARCH: now.search}
    assert right[high.arm] >= right[low.arm] - 1e-6


@given(outlooks, terms)
def test_opinion_is_never_worth_less_than_nothing(outlook: Outlook, stakes: Terms) -> None:
    """Nor more than the strong call that it saves, once escalation stands."""
    worth = evsi(outlook, stakes)
    assert worth >= 0
    if take(outlook.now, stakes).worth > 1e-9 * stakes.value:
        assert worth <= stakes.strong.cost * (1 + 1e-9)


def test_opinion_is_not_bought_to_take_an_escalation_back() -> None:
    """Where agreement would make the cheap answer the better one, at a price beyond a strong call.

    A higher V makes that more tempting, and would so turn an escalation into an acceptance.
    """
    outlook = Outlook(0.3, Chances(0.9, 0.1, 0.0), Chances(0.0, 1.0, 0.0))
    for value in (3.0, 10.0, 1e6):
        stakes = Terms(value, Price(1.0), MANY)
        assert _escalates([(outlook, 1.2)], stakes, agree=(True, True))


def test_opinion_that_cannot_change_the_verdict_is_not_bought() -> None:
    """However cheap it is."""
    same = Outlook(0.5, HELPS, HELPS)
    stakes = Terms(100.0, Price(1.0), MANY)
    assert weigh(same.now, {"second": (same, Price(1e-9))}, stakes) == take(HELPS, stakes)


def test_opinion_most_worth_its_price_is_bought() -> None:
    """Not the most telling one at any price."""
    telling = Outlook(0.5, Chances(0.9, 0.9, 0.0), Chances(0.1, 0.9, 0.0))
    vague = Outlook(0.5, Chances(0.7, 0.9, 0.0), Chances(0.3, 0.9, 0.0))
    stakes = Terms(10.0, Price(3.0), MANY)
    sold = {"telling": (telling, Price(2.0)), "vague": (vague, Price(0.1))}
    assert _asked(sold, stakes) == ("vague", 0.4)
    sold["telling"] = (telling, Price(0.1))
    assert _asked(sold, stakes) == ("telling", 1.4)


@pytest.mark.parametrize(
    "stakes",
    [
        Terms(1e9, Price(5.0), MANY, cost_max=4.0),
        Terms(1e9, Price(5.0, latency_s=3.0), MANY, latency_max_s=2.0),
        Terms(1e9, Price(inf), MANY),
        Terms(1e9, Price(float("nan")), MANY),
        Terms(1.0, Price(0.1, latency_s=3.0), MANY, second_cost=1.0),
    ],
)
def test_arm_beyond_the_caps_is_not_taken(stakes: Terms) -> None:
    """Whatever it is worth; and no opinion is bought about it."""
    outlook = Outlook(0.5, HELPS, Chances(0.0, 1.0, 0.0))
    verdict = weigh(outlook.now, {"second": (outlook, Price(0.0))}, stakes)
    assert verdict == Take(Arm.ACCEPT, 0.0)


def test_strong_arm_that_is_worse_is_never_called() -> None:
    """At any value, once enough labels say so."""
    worse = Chances(cheap=0.8, strong=0.6, search=0.0)
    assert take(worse, Terms(1e12, Price(1e-6), MANY)).arm is Arm.ACCEPT


def test_few_labels_count_little() -> None:
    """Without any, the cheap arm's doubt alone decides."""
    worse = Chances(cheap=0.2, strong=0.1, search=0.0)
    assert take(worse, Terms(10.0, Price(1.0), labels=0)).arm is Arm.STRONG
    assert take(worse, Terms(10.0, Price(1.0), labels=MANY)).arm is Arm.ACCEPT


def test_search_is_taken_when_it_climbs_furthest_for_its_price() -> None:
    """And a single strong call when the difference is not worth a search."""
    stakes = Terms(10.0, Price(1.0), MANY)
    assert take_verified(HELPS, stakes, Price(1.5)).arm is Arm.SEARCH
    assert take_verified(HELPS, stakes, Price(3.0)).arm is Arm.STRONG
