"""Three synthetic bandit-tree problems (reference generator).

State = dict(score, ceil). Root state = None. rng is a numpy Generator; each call consumes draws in
the written order, so a change of order is another problem.
"""

from collections.abc import Callable

import numpy as np

State = dict[str, float]
Answer = Callable[[str, State | None, np.random.Generator], State]


def _clip(x: float) -> float:
    return float(min(1.0, max(0.0, x)))


def p1(action: str, parent: State | None, rng: np.random.Generator) -> State:
    """'wide': one action. Refinement hurts on average; independent restarts are best."""
    if parent is None:
        score = float(rng.beta(2.0, 5.0))
    else:
        score = _clip(parent["score"] + rng.normal(-0.05, 0.10))
    return {"score": score}


def p2(action: str, parent: State | None, rng: np.random.Generator) -> State:
    """'deep': one action. Refinement helps, up to a hidden ceiling drawn at the root child."""
    if parent is None:
        score = _clip(rng.normal(0.20, 0.08))
        ceil = float(rng.uniform(0.35, 1.0))
    else:
        ceil = parent["ceil"]
        score = min(ceil, _clip(parent["score"] + rng.normal(0.03, 0.07)))
    return {"score": score, "ceil": ceil}


# Per action: mean and sd of a fresh score, mean and sd of what a refinement adds.
P3 = {
    "m0": ((0.40, 0.10), (-0.02, 0.05)),
    "m1": ((0.15, 0.10), (0.05, 0.06)),
    "m2": ((0.25, 0.20), (0.00, 0.12)),
}


def p3(action: str, parent: State | None, rng: np.random.Generator) -> State:
    """'multi': m0 good starter, poor refiner; m1 the reverse; m2 noisy middling.

    The same hidden ceiling; scores rounded down to multiples of 1/10 ('7 of 10 tests pass').
    """
    fresh, refined = P3[action]
    if parent is None:
        raw = _clip(rng.normal(*fresh))
        ceil = float(rng.uniform(0.5, 1.0))
    else:
        ceil = parent["ceil"]
        raw = min(ceil, _clip(parent["raw"] + rng.normal(*refined)))
    return {"score": float(np.floor(raw * 10 + 1e-9) / 10), "raw": raw, "ceil": ceil}


PROBLEMS: dict[str, tuple[Answer, list[str]]] = {
    "P1_wide": (p1, ["m0"]),
    "P2_deep": (p2, ["m0"]),
    "P3_multi": (p3, ["m0", "m1", "m2"]),
}
