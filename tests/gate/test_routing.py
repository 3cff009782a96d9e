from collections import Counter
from random import Random
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from app.gate.routing import Candidate, Card, route, worth
from app.money import NanoUSD, from_usd

VALUE: Final = from_usd("0.05")
CENT: Final = from_usd("0.01")
COSTS: Final = {name: NanoUSD(CENT // 20) for name in "abcdef"}


def known(answers: int, right: int, cost: NanoUSD = COSTS["a"]) -> Card:
    """A card of that many answers."""
    return Card(answers, float(right), NanoUSD(answers * cost))


def often(cards: dict[str, Card], *, most: int = 2, value: NanoUSD = VALUE) -> Counter[str]:
    """How often each expert goes in, of 200 searches."""
    times: Counter[str] = Counter()
    for seed in range(200):
        times.update(route(cards, COSTS, most=most, value=value, random=Random(seed)))
    return times


def test_who_is_known_to_be_right_goes_in() -> None:
    """And who is known to be wrong does not."""
    cards = {name: known(200, 10) for name in "abcd"}
    cards |= {"e": known(200, 150), "f": known(200, 120)}
    assert often(cards) == {"e": 200, "f": 200}


def test_who_has_no_card_is_tried() -> None:
    """Nobody would ever have one otherwise."""
    cards = {name: known(200, 60) for name in "abcde"}
    assert often(cards)["f"] > 50


def test_as_right_and_cheaper_goes_first() -> None:
    """At a value of an answer that a dear one is hardly worth."""
    dear = NanoUSD(20 * COSTS["a"])
    cards = {name: known(400, 200, dear) for name in "abcde"} | {"f": known(400, 200)}
    assert often(cards, most=1)["f"] > 195


def test_dear_and_better_goes_in_where_an_answer_is_worth_it() -> None:
    """The price of an error decides, not a taste for cheapness."""
    dear = NanoUSD(20 * COSTS["a"])
    cards = {name: known(400, 100) for name in "abcde"} | {"f": known(400, 380, dear)}
    assert often(cards, value=from_usd("1"))["f"] == 200
    assert often(cards, value=NanoUSD(CENT // 10))["f"] == 0


@given(
    cards=st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.integers(0, 50), st.floats(0, 1)).map(
            lambda drawn: Card(drawn[0], drawn[0] * drawn[1], NanoUSD(drawn[0] * 1000))
        ),
    ),
    most=st.integers(1, 8),
    value=st.integers(0, 10**9),
    seed=st.integers(0, 2**32),
)
def test_some_of_the_experts_go_in_and_never_too_many(
    cards: dict[str, Card], most: int, value: int, seed: int
) -> None:
    """In the order of the policy, the same again for the same seed."""
    found = route(cards, COSTS, most=most, value=NanoUSD(value), random=Random(seed))
    assert 1 <= len(found) <= most
    assert list(found) == sorted(set(found))
    assert found == route(cards, COSTS, most=most, value=NanoUSD(value), random=Random(seed))


def test_worth_is_by_hand() -> None:
    """Half right for 1, then for 4 all right: 10 - 1 - half of 4."""
    pair = [Candidate("dear", 1.0, 4.0), Candidate("cheap", 0.5, 1.0)]
    assert worth(pair, NanoUSD(10)) == 7.0


@given(
    one=st.integers(0, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    other=st.integers(0, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
)
def test_what_was_told_can_be_taken_back(one: tuple[int, int], other: tuple[int, int]) -> None:
    """A label may change; so may what a card says."""
    first, second = known(*one), known(*other)
    assert first.told(second).untold(second) == first
