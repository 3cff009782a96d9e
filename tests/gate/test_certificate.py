"""Certificates: exact tails, looks at fixed times only, and no more false ones than promised."""

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.gate.certificate import Certificate, Promise, Tally, passing, tail, upper_bound


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.data())
def test_tail_is_the_binomial_one(trials: int, chance: float, data: st.DataObject) -> None:
    """Against the sum of its definition."""
    failures = data.draw(st.integers(0, trials))
    exact = sum(
        comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(failures + 1)
    )
    assert tail(failures, trials, chance) == pytest.approx(exact, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("epsilon", "audits"), [(0.05, 45), (0.02, 114), (0.01, 230)])
def test_one_look_without_failures_needs_so_many_audits(epsilon: float, audits: int) -> None:
    """The published figures at delta 0.1."""
    assert tail(0, audits, epsilon) <= 0.1 < tail(0, audits - 1, epsilon)
    assert upper_bound(Tally(audits, 0), 0.1) <= epsilon < upper_bound(Tally(audits - 1, 0), 0.1)


@given(st.integers(1, 300), st.data(), st.floats(0.01, 0.5))
def test_upper_bound_is_where_the_tail_is_delta(
    audits: int, data: st.DataObject, delta: float
) -> None:
    """Clopper and Pearson's definition."""
    failures = data.draw(st.integers(0, audits))
    bound = upper_bound(Tally(audits, failures), delta)
    assert failures / audits <= bound <= 1
    if failures < audits:
        assert tail(failures, audits, bound) == pytest.approx(delta, rel=1e-6)


@given(st.floats(0.005, 0.3), st.floats(0.01, 0.3))
def test_looks_spend_no_more_than_delta(epsilon: float, delta: float) -> None:
    """At n0, 2 n0, 4 n0 and so on, and never between."""
    promise = Promise(epsilon, delta)
    looks = [promise.first_look * 2**k for k in range(30)]
    spent = [promise.delta_at(look) for look in looks]
    assert spent == [delta / 2 ** (k + 1) for k in range(30)]
    assert promise.delta_at(0) is None
    assert promise.delta_at(promise.first_look + 1) is None
    assert promise.delta_at(3 * promise.first_look) is None
    # The first look can succeed.
    assert tail(0, promise.first_look, epsilon) <= delta / 2 or delta > 0.25


def test_sequence_ends_at_the_first_threshold_that_fails() -> None:
    """One that could not pass is left out; one after a failure is not looked at."""
    good, bad, few = Tally(1000, 10), Tally(1000, 60), Tally(20, 0)
    assert passing([good, good], 0.05, 0.1) == 1
    assert passing([few, good], 0.05, 0.1) == 1
    assert passing([good, bad, good], 0.05, 0.1) == 0
    assert passing([bad, good], 0.05, 0.1) is None
    assert passing([few], 0.05, 0.1) is None


def test_certificate_changes_at_looks_only() -> None:
    """Failures between looks are counted, and told at the next one."""
    promise = Promise(0.05, 0.1)
    certificate = Certificate(promise, (Tally(),))
    for _ in range(promise.first_look - 1):
        certificate = certificate.audited(0, failed=False)
    assert certificate.certified is None
    certificate = certificate.audited(0, failed=False)
    assert certificate.certified == 0
    for _ in range(promise.first_look):
        assert certificate.certified == 0
        certificate = certificate.audited(0, failed=True)
    assert certificate.certified is None
    assert certificate.tallies == (Tally(2 * promise.first_look, promise.first_look),)
    assert certificate.dropped() == Certificate(promise, (Tally(),))


def test_audit_counts_for_the_thresholds_that_accept() -> None:
    """A careful threshold is not charged with what it would have escalated."""
    certificate = Certificate(Promise(0.05, 0.1), (Tally(), Tally(), Tally()))
    certificate = certificate.audited(1, failed=True)
    assert certificate.tallies == (Tally(), Tally(1, 1), Tally(1, 1))


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.1), (1.0, 0.1), (0.05, 0.0), (0.05, 1.0)])
def test_promise_that_nothing_could_show_is_refused(epsilon: float, delta: float) -> None:
    """With its reason."""
    with pytest.raises(InvalidRequest, match="between 0 and 1"):
        Promise(epsilon, delta)
