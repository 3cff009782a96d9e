"""What labels add up to: in any order, undone as done, and by no more than they can know."""

from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.category import category_of, inferred
from app.gate.evidence import NONE, Evidence, offset, offsets

labels = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.01, 0.99)), max_size=40)


def _told(said: list[tuple[float, float]]) -> Evidence:
    found = NONE
    for label, expected in said:
        found = found.told(label, expected)
    return found


@given(labels, st.integers(0, 2**32))
def test_order_of_labels_does_not_matter(said: list[tuple[float, float]], seed: int) -> None:
    """Replicas that read them in another order come to the same."""
    shuffled = list(said)
    Random(seed).shuffle(shuffled)
    assert offset([_told(shuffled)]) == pytest.approx(offset([_told(said)]))


@given(labels, st.floats(0, 1), st.floats(0.01, 0.99))
def test_label_can_be_taken_back(
    said: list[tuple[float, float]], label: float, expected: float
) -> None:
    """As if it had never been given."""
    before = _told(said)
    after = before.told(label, expected).untold(label, expected)
    assert after.labels == before.labels
    assert offset([after]) == pytest.approx(offset([before]), abs=1e-6)


@pytest.mark.parametrize("truth", [0.2, 0.6, 0.95])
def test_labels_lead_to_the_truth(truth: float) -> None:
    """From wherever the weights began; and each level corrects the wider one."""
    rng = Random(1)
    own = _told([(float(rng.random() < truth), 0.5) for _ in range(4000)])
    assert 1 / (1 + exp(-offset([own]))) == pytest.approx(truth, abs=0.03)
    pool = _told([(1.0, 0.5)] * 400)
    assert 1 / (1 + exp(-offset([pool, own]))) == pytest.approx(truth, abs=0.03)


def test_one_label_moves_little_and_fifty_half_the_way() -> None:
    """By n / (n + 50)."""
    wrong = [(0.0, 0.8)]
    assert abs(offset([_told(wrong)])) < 0.05
    many = _told(wrong * 50)
    assert offset([many]) == pytest.approx(many.shift / 2)
    assert many.doubted().labels == 12
    assert offset([many]) < offset([many.doubted()]) < 0


def test_head_after_an_opinion_starts_from_its_arm() -> None:
    """Most labels are of problems for which none was bought."""
    known = {"pair": {"cheap": _told([(0.0, 0.8)] * 50)}}
    found = offsets(known, ("pair", "nobody's"))
    assert found["agreed.cheap"] == found["differed.cheap"] == found["cheap"] < 0
    assert "strong" not in found
    assert "agreed.strong" not in found
    assert offsets(known, ("other",)) == {}


@pytest.mark.parametrize(
    ("problem", "category"),
    [
        ("Which is it?\nA. one\nB. two\nC. three", "choice"),
        ("Pick one.\n(a) red\n(b) blue\n(c) green", "choice"),
        ("What does this print?\n```python\nprint(1)\n```", "code"),
        ("def f(x):\n    return x + 1\nassert f(1) == ??", "code"),
        ("Janet has 16 eggs and eats 3. How many are left?", "maths"),
        (r"Find $\frac{1}{2} + x$.", "maths"),
        ("Who wrote the first letter to the Corinthians?", None),
        ("In 1815 he lost.", None),
        ("", None),
    ],
)
def test_category_is_guessed_from_the_problem(problem: str, category: str | None) -> None:
    """Or not at all."""
    assert inferred(problem) == category
    assert category_of(None, problem) == category
    assert category_of(" legal ", problem) == "legal"
    assert category_of("  ", problem) == category


@given(st.text(), st.none() | st.text())
def test_any_problem_has_a_category_or_none(problem: str, given_name: str | None) -> None:
    """No text makes the guess fail; a name is short."""
    found = category_of(given_name, problem)
    assert found is None or 0 < len(found) <= 64
