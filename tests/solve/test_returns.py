"""What a changed answer is known to have brought, and how surely: nothing is flattered."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ids import SolveId, TenantId
from app.learning.lesson import ESCALATED, VERIFIER, Lesson
from app.money import NanoUSD
from app.solve.returns import LABELS_MIN, Difference, Sums, account, difference, total

V = NanoUSD(50_000_000)


def _lesson(
    *,
    source: str | None = None,
    cheap: float | None = None,
    strong: float | None = None,
    feedback: float | None = None,
    same: bool | None = False,
) -> Lesson:
    return Lesson(
        solve_id=SolveId("slv_1"),
        tenant_id=TenantId("ten_1"),
        pair="a>b",
        category=None,
        pooled=True,
        version="g1",
        propensity=1.0,
        route="strong",
        answered="strong",
        same=same,
        agreed=None,
        features=None,
        source=source,
        cheap=cheap,
        strong=strong,
        feedback=feedback,
    )


@pytest.mark.parametrize(
    ("lesson", "more_right"),
    [
        (_lesson(source=VERIFIER, cheap=0.0, strong=1.0), 1.0),
        (_lesson(source=VERIFIER, cheap=1.0, strong=0.0), -1.0),
        (_lesson(source=VERIFIER, cheap=0.0, strong=0.0), 0.0),
        (_lesson(feedback=1.0), 1.0),
        (_lesson(feedback=0.0), -1.0),
        (_lesson(feedback=0.5), None),
        (_lesson(source=ESCALATED, cheap=0.1), None),
        (_lesson(source=ESCALATED, cheap=0.1, feedback=1.0), 1.0),
        (_lesson(source=VERIFIER, cheap=1.0, strong=1.0, same=True), None),
        (_lesson(), None),
    ],
)
def test_only_what_is_known_counts(lesson: Lesson, more_right: float | None) -> None:
    """A verifier's word and the caller's, not the agreement of two models; in doubt against us."""
    found = difference(lesson, V)
    assert (None if found is None else found.more_right) == more_right


def _known(*values: float, propensity: float = 1.0) -> Sequence[Difference]:
    return [Difference(value, propensity, V) for value in values]


def test_few_labels_tell_nothing() -> None:
    """One less than enough is unknown, and so is what hangs on it; spending is not."""
    sums = Sums(solves=99, posted=500, cheap_solves=99, cheap_posted=500, cheap=100, changed=40)
    few = account(sums, _known(*[1.0] * (LABELS_MIN - 1)))
    assert (few.avoided, few.worth, few.break_even, few.extra) == (None, None, None, 400)
    assert few.unlabelled == pytest.approx(1 - 29 / 40)
    enough = account(sums, _known(*[1.0] * LABELS_MIN))
    assert enough.avoided is not None
    assert enough.worth is not None
    assert enough.avoided.value == 40
    assert enough.avoided.low < 40 < enough.avoided.high
    assert enough.worth.value == 40 * V
    assert enough.break_even == 10


def test_where_nothing_was_changed_nothing_was_avoided() -> None:
    """That needs no label."""
    found = account(Sums(solves=9, posted=9), ())
    assert found.avoided is not None
    assert (found.avoided.value, found.unlabelled, found.break_even) == (0.0, None, None)


def test_seldom_decided_counts_for_many() -> None:
    """One in twenty of propensity .05 stands for as many as the nineteen of .95 do."""
    known = [*_known(*[1.0] * 20, propensity=0.05), *_known(*[0.0] * 380, propensity=0.95)]
    found = total([one.more_right for one in known], known, of=1000)
    assert found is not None
    assert found.value == pytest.approx(500)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Nine in ten, of samples with two propensities; the seeds are fixed."""
    held, rounds = 0, 400
    for seed in range(rounds):
        random, known = Random(seed), list[Difference]()
        while len(known) < 200:
            rare = random.random() < 0.5
            value = float(random.random() < (0.6 if rare else 0.2))
            propensity = 0.25 if rare else 0.75
            if random.random() < propensity:
                known.append(Difference(value, propensity, V))
        found = total([one.more_right for one in known], known, of=100)
        assert found is not None
        held += found.low <= 40 <= found.high
    assert 0.86 <= held / rounds <= 0.97


@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=LABELS_MIN, max_size=LABELS_MIN
    ),
    st.integers(1, 10**6),
)
def test_estimate_stays_within_what_was_seen(seen: list[tuple[float, float]], of: int) -> None:
    """Between the least and the most, with an interval around it."""
    known = [Difference(value, propensity, V) for value, propensity in seen]
    values = [one.more_right for one in known]
    found = total(values, known, of=of)
    assert found is not None
    assert of * min(values) - 1e-6 * of <= found.value <= of * max(values) + 1e-6 * of
    assert found.low <= found.value <= found.high
