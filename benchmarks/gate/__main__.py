"""What one decision of the learned gate costs: CPU microseconds, from the reply's text to the arm.

    python -m benchmarks.gate [--decisions 3000]

Whole: counts of the text, features, chances of all heads with one opinion for sale, the verdict.
Rule: the same without the text. Update: one lesson with feedback told to all heads at all levels,
as it changes the next decision. Standing: what labels add up to for a tenant and its category,
which a solve is admitted with. The yardstick, in the same rounds, is parsing a 4 kB JSON reply,
which every call does anyway. Exit 1 beyond the limits: a median of 50 microseconds for the
rule and of 100 for an update, a 99th percentile of 1 ms with 64 kB of text.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from random import Random
from time import process_time_ns
from typing import Final

import numpy as np

from app.db.engine import Database
from app.gate.document import document_of
from app.gate.evidence import HEADS
from app.gate.fitting import Example, fit_model
from app.gate.gate import Accept, SecondOpinion
from app.gate.heads import Model
from app.gate.learned import Case, Judgement, Standing, after_first
from app.gate.logistic import Array
from app.gate.signals import NAMES, Form, Signals, vector
from app.gate.stack import Stack
from app.gate.text import count_text
from app.gate.worth import Ask, Price, Take, Terms, weigh
from app.ids import SolveId, TenantId
from app.learning.learner import Learner
from app.learning.lesson import Lesson
from app.telemetry.readiness import Drain

KB: Final = 1024
WHOLE_P99_US: Final = 1000.0
RULE_P50_US: Final = 50.0
UPDATE_P50_US: Final = 100.0
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
GROUPS: Final = ("sums",)
TENANT: Final = TenantId("ten_1")
PAIR: Final = "cheap>strong"
NOWHERE: Final = "sqlite+aiosqlite:///nowhere.db"
"""Never opened: what is measured is what happens in memory."""
STANDING: Final = Standing("benchmark", "sums", offsets=dict.fromkeys(HEADS, 0.1), labels=1000)
CASE: Final = Case(50.0, Price(10.0), Price(0.5), Price(inf), SecondOpinion.AUTO)
UNCHECKED: Final = Accept("not_worth_it", "nothing checks it")


def main(decisions: int) -> None:
    """Measure in turns; print median and 99th percentile."""
    model, rng = fitted(), Random(1)
    stack = Stack.of(model)
    learner = Learner(document=document_of(model), database=Database(NOWHERE), drain=Drain())
    texts = {size: prose(size * KB, rng) for size in (2, 8, 64)}
    ready = vector(signals(texts[8]))
    reply = json.dumps({"choices": [{"message": {"content": prose(4 * KB, rng)}}]})
    work: dict[str, Callable[[], object]] = {
        "yardstick": lambda: json.loads(reply),
        "rule": lambda: decide(model, ready),
        "update": partial(learner.learn, lesson(ready)),
        "standing": lambda: learner.standing(TENANT, PAIR, "sums", pooled=True),
    }
    for size, text in texts.items():
        work[f"whole, {size} kB"] = partial(read_and_decide, stack, text)
    found = measured(work, decisions)
    unit = float(np.median(found["yardstick"]))
    print(f"{'':14} {'p50 us':>8} {'p99 us':>8} {'yardsticks':>11}")
    for name, times in found.items():
        p50, p99 = np.percentile(times, (50, 99))
        print(f"{name:14} {p50:8.1f} {p99:8.1f} {p50 / unit:11.2f}")
    slow = float(np.percentile(found["whole, 64 kB"], 99)) > WHOLE_P99_US
    slow |= float(np.median(found["rule"])) > RULE_P50_US
    slow |= float(np.median(found["update"])) > UPDATE_P50_US
    raise SystemExit(int(slow))


def lesson(features: Array) -> Lesson:
    """What an escalated solve with feedback teaches; told again, the old is taken back first."""
    return Lesson(
        solve_id=SolveId("slv_1"),
        tenant_id=TENANT,
        pair=PAIR,
        category="sums",
        pooled=True,
        version="benchmark",
        propensity=1.0,
        route="strong",
        answered="strong",
        same=False,
        agreed=False,
        features=tuple(float(value) for value in features),
        feedback=1.0,
    )


def measured(work: Mapping[str, Callable[[], object]], times: int) -> dict[str, list[float]]:
    """Microseconds of this process's CPU, each in turn."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(times):
        for name, once in work.items():
            started = process_time_ns()
            once()
            found[name].append((process_time_ns() - started) / 1000)
    return found


def decide(model: Model, features: Array) -> Take | Ask:
    """As a request would, without a verifier."""
    scaled = model.scale.standard(features)
    outlook = model.outlook("second", scaled, GROUPS)
    terms = Terms(50.0, Price(model.strong_cost(scaled, GROUPS)), labels=1000)
    return weigh(outlook.now, {"second": (outlook, Price(0.5))}, terms)


def read_and_decide(model: Stack, text: str) -> Judgement:
    """The text included, on weights that labels have moved, with reasons in words."""
    return after_first(model, STANDING, signals(text), CASE, untrained=UNCHECKED)


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
