"""Which of the answers in hand to return: take-the-best beside other rules, on recorded answers.

    python -m benchmarks.search selection [--draws 3]

From the recorded samples of a problem some are drawn, and each answer's score gets the error of a
judge; a rule then sees which answers are equal, and their scores. Problems are those where some of
the recorded answers are right and some are not; a choice counts if its true score is full. The
judges: exact; off by a normal error, scores staying in [0, 1]; careless, which now and then says
anything.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from app.search.selection import Scored, select

DATA: Final = Path(__file__).parents[1] / "data" / "reasoning_gym_answers.jsonl.gz"
IN_HAND: Final = (8, 16)

Judge = Callable[[float, Random], float]
Rule = Callable[[Sequence[Scored]], int]


def off_by(deviation: float) -> Judge:
    """A judge with a normal error."""
    return lambda score, rng: min(1.0, max(0.0, rng.gauss(score, deviation)))


def careless(share: float) -> Judge:
    """A judge who says anything of a share of the answers."""
    return lambda score, rng: rng.random() if rng.random() < share else score


JUDGES: Final[dict[str, Judge]] = {
    "exact": lambda score, _rng: score,
    "off by .2": off_by(0.2),
    "off by .5": off_by(0.5),
    "careless in 1 of 5": careless(0.2),
    "careless in 2 of 5": careless(0.4),
}


def take_the_best(scored: Sequence[Scored]) -> int:
    """The first of the best scores."""
    return max(range(len(scored)), key=lambda place: (scored[place].score, -place))


def majority(scored: Sequence[Scored]) -> int:
    """The first of the most frequent answer, whatever its score."""
    times = Counter(one.answer for one in scored)
    return max(range(len(scored)), key=lambda place: (times[scored[place].answer], -place))


RULES: Final[dict[str, Rule]] = {
    "take the best": take_the_best,
    "majority": majority,
    "trusting": lambda scored: select(scored, noisy=False),
    "doubting": lambda scored: select(scored, noisy=True),
}


def main(arguments: Sequence[str]) -> None:
    """Print a line a judge and number of answers: the share of right choices by each rule."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search selection")
    parser.add_argument("--draws", type=int, default=3, help="of each problem's answers")
    draws: int = parser.parse_args(arguments).draws
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        problems: list[list[tuple[int, float]]] = [json.loads(line) for line in lines]
    print(f"{'judge':20}{'answers':>8}" + "".join(f"{rule:>15}" for rule in RULES))
    for judge in JUDGES:
        for in_hand in IN_HAND:
            right, choices = Counter[str](), 0
            rng = Random(f"{judge}:{in_hand}")
            for recorded in problems * draws:
                drawn = rng.sample(recorded, in_hand)
                truths = [score for _, score in drawn]
                if max(truths) < 1.0 or min(truths) >= 1.0:
                    continue  # no rule could be wrong, or right
                choices += 1
                scored = [Scored(answer, JUDGES[judge](score, rng)) for answer, score in drawn]
                right.update(name for name, rule in RULES.items() if truths[rule(scored)] >= 1.0)
            shares = "".join(f"{right[rule] / choices:15.3f}" for rule in RULES)
            print(f"{judge:20}{in_hand:8}{shares}", flush=True)
