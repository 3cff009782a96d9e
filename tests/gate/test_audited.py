"""Audits certify regret at their looks alone, and an alarm takes the certificate away."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gate.audited import CATEGORY, Audit, Vigil, watched
from app.gate.certificate import Promise

PROMISE = Promise(epsilon=0.05, delta=0.1)
NOW = "a>b"


def audit(number: int, **facts: object) -> Audit:
    """One that was verified as soon as it was made, and found right."""
    made = {"id": f"{number:06}", "versions": NOW, "audited_s": float(number)}
    made |= {"cheap": 1.0, "same": True, "verified_s": float(number)}
    return Audit(**(made | facts))  # type: ignore[arg-type] # a case of a table


def stream(count: int, *, regret: float, start: int = 0, seed: int = 1) -> list[Audit]:
    """Audits that agree where the accepted answer is right."""
    rng = Random(f"{seed}:{start}")
    made: list[Audit] = []
    for number in range(start, start + count):
        failed = rng.random() < regret
        made.append(audit(number, cheap=float(not failed), same=not failed))
    return made


def stands(vigil: Vigil) -> bool:
    """Whether anything is certified now."""
    return vigil.certified(CATEGORY, versions=NOW) is not None


def test_certificate_appears_at_the_first_look_and_not_before() -> None:
    """And says on how many audits it rests until the next."""
    n0 = PROMISE.first_look
    audits = stream(2 * n0, regret=0.0)
    assert not stands(watched(audits[: n0 - 1], PROMISE))
    for count, said in ((n0, n0), (2 * n0 - 1, n0), (2 * n0, 2 * n0)):
        found = watched(audits[:count], PROMISE).certified(CATEGORY, versions=NOW)
        assert found is not None
        assert (found.audits, found.scope, found.epsilon) == (said, CATEGORY, 0.05)


def test_shift_raises_an_alarm_and_the_certificate_falls() -> None:
    """Within 60 audits of a regret that went from 1 to 40 in a hundred."""
    n0 = PROMISE.first_look
    before = stream(4 * n0, regret=0.005)
    assert stands(watched(before, PROMISE))
    after = before + stream(60, regret=0.4, start=4 * n0)
    vigil = watched(after, PROMISE)
    assert not stands(vigil)
    assert vigil.alarms == 1


def test_agreement_that_falls_is_an_alarm_without_any_label() -> None:
    """Labels come late, and may never come."""
    n0 = PROMISE.first_look
    before = stream(2 * n0, regret=0.0)
    silent = [
        audit(number, cheap=None, verified_s=None, same=number % 2 == 0)
        for number in range(2 * n0, 2 * n0 + 60)
    ]
    vigil = watched(before + silent, PROMISE)
    assert (stands(vigil), vigil.alarms) == (False, 1)


def test_changed_version_is_an_alarm_at_once() -> None:
    """For the new version from its first request on, before any audit of it."""
    n0 = PROMISE.first_look
    vigil = watched(stream(n0, regret=0.0), PROMISE)
    assert vigil.certified(CATEGORY, versions="a>c") is None
    changed = vigil.audited(audit(n0, versions="a>c"))
    assert changed.alarms == 1
    assert not stands(changed)
    # A late label of the old one says nothing of the new one.
    assert changed.verified(audit(n0 - 1)) == changed


def test_label_from_before_an_alarm_does_not_count_after_it() -> None:
    """The certificate speaks of what the world is like now."""
    vigil = watched(stream(3, regret=0.0), PROMISE).alarmed(10.0)
    assert vigil.verified(audit(9, verified_s=11.0)) == vigil
    assert vigil.verified(audit(10, verified_s=11.0)).certificate.seen == 1


@pytest.mark.parametrize(
    ("facts", "regretted"),
    [
        ({"cheap": 1.0, "same": False}, False),
        ({"cheap": 0.0, "same": True}, False),
        ({"cheap": 0.0, "same": False, "alternative": 0.0}, False),
        ({"cheap": 0.0, "same": False, "alternative": 1.0}, True),
        ({"cheap": 0.0, "same": False}, True),
        ({"cheap": 0.0, "same": None}, True),
        ({"cheap": 0.5, "same": False}, True),
    ],
)
def test_doubt_counts_as_regret(facts: dict[str, object], *, regretted: bool) -> None:
    """What nobody checked is taken for the worse."""
    assert audit(1, **facts).is_regretted is regretted


def test_unverified_audits_certify_nothing() -> None:
    """However many agree."""
    silent = [audit(number, cheap=None, verified_s=None) for number in range(1000)]
    vigil = watched(silent, PROMISE)
    assert (vigil.audits, vigil.certificate.seen, stands(vigil)) == (1000, 0, False)


@given(seed=st.integers(0, 2**32), count=st.integers(0, 120))
def test_order_of_reading_changes_nothing(seed: int, count: int) -> None:
    """Every replica comes to the same, whatever it read first."""
    audits: Sequence[Audit] = stream(count, regret=0.2, seed=seed)
    shuffled = Random(seed).sample(audits, count)
    assert watched(shuffled, PROMISE) == watched(audits, PROMISE)


def test_false_certificates_are_as_rare_as_promised() -> None:
    """Streams at a regret just above epsilon: at most delta and three standard errors."""
    streams, violated = 200, 0
    n0 = PROMISE.first_look
    for seed in range(streams):
        rng = Random(f"stream {seed}")
        vigil = watched([], PROMISE)
        for number in range(4 * n0):
            one = audit(number, cheap=float(rng.random() >= 0.055), same=False)
            vigil = vigil.audited(one).verified(one)
            if stands(vigil):
                violated += 1
                break
    assert violated / streams <= 0.1 + 3 * (0.1 * 0.9 / streams) ** 0.5
