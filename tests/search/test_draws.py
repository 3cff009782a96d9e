import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.search.draws import Draws

seeds = st.integers(-(2**70), 2**70)
asks = st.integers(1, 10**9)


@given(seeds, asks, st.lists(asks, max_size=3))
def test_ask_draws_the_same_whatever_was_asked_before(
    seed: int, number: int, others: list[int]
) -> None:
    """Also where an earlier ask left half a word behind, as drawing small integers does."""
    draws = Draws(seed)
    for other in others:
        draws.of_ask(other).integers(0, 10, dtype=np.int32)
    assert draws.of_ask(number).random(5).tolist() == Draws(seed).of_ask(number).random(5).tolist()


@given(seeds, asks, seeds, asks)
def test_other_asks_and_other_seeds_draw_otherwise(
    seed: int, number: int, other_seed: int, other_number: int
) -> None:
    """No two streams meet."""
    first = Draws(seed).of_ask(number).random(5).tolist()
    second = Draws(other_seed).of_ask(other_number).random(5).tolist()
    assert (first == second) == ((seed, number) == (other_seed, other_number))
