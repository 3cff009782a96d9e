"""What one decision of the learned gate costs: CPU microseconds, from the reply's text to the arm.

    python -m benchmarks.gate [--decisions 3000]

Whole: counts of the text, features, chances of all heads with one opinion for sale, the verdict.
Rule: the same without the text. The yardstick, in the same rounds, is parsing a 4 kB JSON reply,
which every call does anyway. Exit 1 beyond the limits: a median of 50 microseconds for the rule, a
99th percentile of 1 ms with 64 kB of text.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from time import process_time_ns
from typing import Final

import numpy as np

from app.gate.fitting import Example, fit_model
from app.gate.heads import Model
from app.gate.signals import NAMES, Form, Signals, vector
from app.gate.text import count_text
from app.gate.worth import Ask, Price, Take, Terms, weigh

KB: Final = 1024
WHOLE_P99_US: Final = 1000.0
RULE_P50_US: Final = 50.0
WORDS: Final = (
    "so",
    "the",
    "sum",
    "is",
    "12",
    "and",
    "perhaps",
    "7",
    "wait",
    "add",
    "3.5",
    "therefore",
    "\n",
)
GROUPS: Final = ("category maths", "task sums")


def main(decisions: int) -> None:
    """Measure in turns; print median and 99th percentile."""
    model, rng = fitted(), Random(1)
    texts = {size: prose(size * KB, rng) for size in (2, 8, 64)}
    ready = vector(signals(texts[8]))
    reply = json.dumps({"choices": [{"message": {"content": prose(4 * KB, rng)}}]})
    work: dict[str, Callable[[], object]] = {
        "yardstick": lambda: json.loads(reply),
        "rule": lambda: decide(model, ready),
    }
    for size, text in texts.items():
        work[f"whole, {size} kB"] = partial(read_and_decide, model, text)
    found = measured(work, decisions)
    unit = float(np.median(found["yardstick"]))
    print(f"{'':14} {'p50 us':>8} {'p99 us':>8} {'yardsticks':>11}")
    for name, times in found.items():
        p50, p99 = np.percentile(times, (50, 99))
        print(f"{name:14} {p50:8.1f} {p99:8.1f} {p50 / unit:11.2f}")
    slow = float(np.percentile(found["whole, 64 kB"], 99)) > WHOLE_P99_US
    raise SystemExit(int(slow or float(np.median(found["rule"])) > RULE_P50_US))


def measured(work: Mapping[str, Callable[[], object]], times: int) -> dict[str, list[float]]:
    """Microseconds of this process's CPU, each in turn."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(times):
        for name, once in work.items():
            started = process_time_ns()
            once()
            found[name].append((process_time_ns() - started) / 1000)
    return found


def decide(model: Model, features: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Take | Ask:
    """As a request would, without a verifier."""
    scaled = model.scale.standard(features)
    outlook = model.outlook("second", scaled, GROUPS)
    terms = Terms(50.0, Price(model.strong_cost(scaled, GROUPS)), labels=1000)
    return weigh(outlook.now, {"second": (outlook, Price(0.5))}, terms)


def read_and_decide(model: Model, text: str) -> Take | Ask:
    """The text included."""
    return decide(model, vector(signals(text)))


def signals(text: str) -> Signals:
    """Of a reply that parsed."""
    return Signals(Form("41", tagged=True, truncated=False), count_text(text), None, 200, GROUPS)


def prose(size: int, rng: Random) -> str:
    """Words as a model reasons, so many bytes."""
    return " ".join(rng.choices(WORDS, k=size))[:size]


def fitted() -> Model:
    """On noise: weights of any value cost the same."""
    rng = np.random.default_rng(1)
    return fit_model(
        [
            Example(
                features=np.concatenate((np.ones(1), rng.standard_normal(len(NAMES) - 1))),
                groups=GROUPS,
                cheap_right=float(rng.random() < 0.6),
                strong_right=float(rng.random() < 0.8),
                strong_cost=10.0,
                agreed={"second": bool(rng.random() < 0.6)},
            )
            for _ in range(300)
        ],
        version="benchmark",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--decisions", type=int, default=3000)
    main(parser.parse_args().decisions)
