from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from app.ledger.price import Price
from app.money import NanoUSD

rates = st.integers(0, 10**12).map(NanoUSD)
tokens = st.integers(0, 10**7)
prices = st.builds(Price, st.just("acme"), st.just("large"), rates, rates)


@given(prices, tokens, tokens, tokens, tokens)
def test_no_call_within_its_bounds_costs_more_than_its_worst_case(
    price: Price, used_in: int, used_out: int, more_in: int, more_out: int
) -> None:
    """So what is held before a call covers it."""
    worst = price.worst_case(used_in + more_in, used_out + more_out)
    assert price.cost(used_in, used_out) <= worst


@given(prices, tokens, tokens)
def test_cost_is_rounded_up_once(price: Price, used_in: int, used_out: int) -> None:
    """Over both parts together."""
    exact = Fraction(used_in * price.input + used_out * price.output, 1_000_000)
    assert 0 <= price.cost(used_in, used_out) - exact < 1


@given(prices, prices)
def test_version_names_exactly_the_rates(one: Price, other: Price) -> None:
    """The same rates are the same version, others another."""
    assert (one.version == other.version) == (one == other)


def test_version_depends_on_the_provider_and_the_model() -> None:
    """And fits its column."""
    made = [
        Price("acme", "large", NanoUSD(1), NanoUSD(2)),
        Price("acme", "small", NanoUSD(1), NanoUSD(2)),
        Price("other", "large", NanoUSD(1), NanoUSD(2)),
        Price("acme", "large", NanoUSD(2), NanoUSD(1)),
    ]
    assert len({price.version for price in made}) == 4
    assert all(len(price.version) <= 24 for price in made)
