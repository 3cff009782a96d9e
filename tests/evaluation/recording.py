"""A slice of recorded outputs, and made-up ones whose truth is known."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from app.evaluation.recorded import PAIRS, Recording, recordings
from app.gate.fitting import Example
from app.gate.signals import NAMES

SLICE = Path(__file__).parent / "data" / "zeroeval.jsonl.gz"
PRICES: dict[str, list[float]] = {
    "gpt-4o-mini-2024-07-18": [0.15, 0.6],
    "gpt-4o-2024-08-06": [2.5, 10],
    "claude-3-5-sonnet-20241022": [3, 15],
    "gemini-1.5-flash": [0.075, 0.3],
}


def rows() -> list[dict[str, Any]]:
    """The slice as it is stored."""
    return [json.loads(line) for line in gzip.decompress(SLICE.read_bytes()).splitlines()]


def recorded(pair: str = "ZE1") -> list[Recording]:
    """The slice as problems of a pair."""
    return recordings(PAIRS[pair], rows(), PRICES)


def made_up(count: int) -> list[Recording]:
    """The cheap arm is right on every easy problem, the strong arm on all; a feature tells which.

    The opinion is worthless: it agrees by the toss of a coin.
    """
    rng = np.random.default_rng(3)
    found: list[Recording] = []
    for number in range(count):
        easy = bool(rng.random() < 0.6)
        right = easy if rng.random() < 0.9 else not easy
        features = np.zeros(len(NAMES))
        features[0], features[3] = 1.0, float(easy) + 0.1 * rng.standard_normal()
        example = Example(
            features=features,
            groups=("task made up",),
            cheap_right=float(right),
            strong_right=1.0,
            strong_cost=20.0,
            agreed={"coin": bool(rng.random() < 0.5)},
        )
        found.append(Recording(f"problem {number}", example, 1.0, {"coin": 0.5}))
    return found
