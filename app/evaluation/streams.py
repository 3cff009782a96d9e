"""How often a certificate stands that should not: streams of audits whose true regret is known."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt
from random import Random
from typing import Final

from app.gate.certificate import Certificate, Promise, Tally

LOOKS: Final = 5
"""A stream ends with its fifth look, after 16 n0 audits."""
SHARES: Final = (0.6, 0.1, 0.1, 0.1, 0.1)
"""Of audited requests that each threshold accepts and the one before it does not."""

Audit = Callable[[Random], tuple[int, bool]]
"""The first threshold that accepts the audited request, and whether accepting was regretted."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many streams ever held a false certificate, and how many ended with a true one."""

    streams: int
    violated: int
    certified: int

    @property
    def violations(self) -> float:
        """Share of the streams."""
        return self.violated / self.streams

    def allowed(self, delta: float) -> float:
        """What chance excuses: delta and three standard errors."""
        return delta + 3 * sqrt(delta * (1 - delta) / self.streams)


def follow(
    promise: Promise, regrets: Sequence[float], audit: Audit, rng: Random
) -> tuple[bool, bool]:
    """Whether a certificate ever stood at a regret above epsilon, and whether a true one is left.

    `regrets` are the thresholds' true ones, the most careful first.
    """
    certificate = Certificate(promise, tuple(Tally() for _ in regrets))
    violated = False
    for _ in range(promise.first_look * 2 ** (LOOKS - 1)):
        accepted_from, failed = audit(rng)
        certificate = certificate.audited(accepted_from, failed=failed)
        standing = certificate.certified
        violated |= standing is not None and regrets[standing] > promise.epsilon
    standing = certificate.certified
    return violated, standing is not None and regrets[standing] <= promise.epsilon


def synthetic(promise: Promise, *, streams: int, seed: int) -> Kept:
    """Streams whose regret passes epsilon somewhere along the thresholds, or before the first.

    The later a threshold the more often what it adds is regretted; the first one's regret is drawn
    from 0.1 to 1.4 epsilon.
    """
    outcomes = [_synthetic(promise, Random(f"{seed}:{stream}")) for stream in range(streams)]
    return _kept(outcomes)


def replayed(
    promise: Promise, audits: Sequence[tuple[int, bool]], *, streams: int, seed: int
) -> Kept:
    """Streams drawn with replacement from recorded `audits`, whose own rates are then the truth."""
    rungs = max(rung for rung, _ in audits) + 1
    regrets = [
        _share([failed for rung, failed in audits if rung <= threshold])
        for threshold in range(rungs)
    ]
    return _kept(
        [
            follow(promise, regrets, lambda rng: rng.choice(audits), Random(f"{seed}:{stream}"))
            for stream in range(streams)
        ]
    )


def _synthetic(promise: Promise, rng: Random) -> tuple[bool, bool]:
    first = promise.epsilon * rng.uniform(0.1, 1.4)
    chances = [min(1.0, first * 1.5**rung) for rung in range(len(SHARES))]
    accepted = list(accumulate(SHARES))
    failing = accumulate(share * chance for share, chance in zip(SHARES, chances, strict=True))
    regrets = [failed / share for failed, share in zip(failing, accepted, strict=True)]

    def audit(draws: Random) -> tuple[int, bool]:
        rung = min(bisect_right(accepted, draws.random()), len(SHARES) - 1)
        return rung, draws.random() < chances[rung]

    return follow(promise, regrets, audit, rng)


def _kept(outcomes: Sequence[tuple[bool, bool]]) -> Kept:
    violated, certified = zip(*outcomes, strict=True)
    return Kept(len(outcomes), sum(violated), sum(certified))


def _share(failures: Sequence[bool]) -> float:
    return sum(failures) / len(failures) if failures else 0.0
