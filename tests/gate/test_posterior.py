"""Which answer in hand is right: by whom it is said, and never by its price alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.posterior import posterior

chances = st.floats(0.01, 0.99)
said = st.none() | st.sampled_from(["7", "8", "9"])


def _likeliest(first: str | None, second: str | None, strong: str, *, cheap: float) -> str:
    found = posterior(first=first, second=second, strong=strong, p_cheap=cheap, p_strong=0.6)
    return max(found, key=lambda answer: found[answer])


@given(said, said, said, chances, chances)
def test_answers_in_hand_share_one_certainty(
    first: str | None, second: str | None, strong: str | None, cheap: float, dear: float
) -> None:
    """Each is a chance, together they are at most one, and each readable answer has one."""
    found = posterior(first=first, second=second, strong=strong, p_cheap=cheap, p_strong=dear)
    assert set(found) == {first, second, strong} - {None}
    assert all(0 <= chance <= 1 for chance in found.values())
    assert sum(found.values()) <= 1 + 1e-9


@given(chances, st.floats(0.2, 0.99))
def test_agreement_makes_an_answer_surer_and_difference_less_sure(
    cheap: float, dear: float
) -> None:
    """Where the strong arm is right more often than it falls into the same error."""
    together = posterior(first="7", second=None, strong="7", p_cheap=cheap, p_strong=dear)["7"]
    apart = posterior(first="7", second=None, strong="8", p_cheap=cheap, p_strong=dear)["7"]
    assert apart <= cheap + 1e-9 <= together + 2e-9


@given(said, chances, chances, chances)
def test_surer_strong_arm_is_believed_more(
    first: str | None, cheap: float, one: float, other: float
) -> None:
    """Its answer never loses by its chance."""
    low, high = (
        posterior(first=first, second=None, strong="7", p_cheap=cheap, p_strong=dear)["7"]
        for dear in sorted((one, other))
    )
    assert low <= high + 1e-9


@pytest.mark.parametrize(
    ("first", "second", "strong", "cheap", "chosen"),
    [
        ("7", "8", "9", 0.35, "9"),
        ("7", "8", "7", 0.35, "7"),
        ("7", "8", "8", 0.35, "8"),
        ("7", "7", "8", 0.8, "7"),
        ("7", "7", "8", 0.3, "8"),
        ("7", None, "8", 0.9, "7"),
        ("7", None, "8", 0.4, "8"),
        (None, None, "8", 0.4, "8"),
    ],
)
def test_strong_answer_is_not_believed_blindly(
    first: str, second: str | None, strong: str, cheap: float, chosen: str
) -> None:
    """It breaks a tie and wins where the others are weak; what is surer stands against it."""
    assert _likeliest(first, second, strong, cheap=cheap) == chosen


def test_alone_each_answer_is_as_sure_as_its_arm() -> None:
    """Nothing is added where there is nothing to compare."""
    only = posterior(first="7", second=None, strong=None, p_cheap=0.7, p_strong=0.9)
    assert only == {"7": 0.7}
    assert posterior(first=None, second=None, strong="7", p_cheap=0.7, p_strong=0.9) == {"7": 0.9}


def test_contradicting_certainties_tell_nothing() -> None:
    """Two sure arms that differ are no division by zero."""
    found = posterior(first="7", second=None, strong="8", p_cheap=1.0, p_strong=1.0)
    assert found == {"7": pytest.approx(0.5), "8": pytest.approx(0.5)}
