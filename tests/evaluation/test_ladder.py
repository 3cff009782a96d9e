"""Searches that were recorded rung by rung, and whether each was worth beginning."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from app.evaluation.ladder import (
    climbs,
    judge_climbs_apart,
    judge_climbs_by_folds,
    search_examples,
)
from app.evaluation.prior import is_fitted

PRICES = {"small": [0.1, 0.1], "middle": [0.5, 0.5], "large": [5.0, 5.0], "hides": [0.1, 0.2]}


def _row(problem: str, task: str, model: str, *, correct: bool) -> dict[str, Any]:
    return {
        "problem_id": problem,
        "model": model,
        "sample_idx": 0,
        "level": "easy",
        "task": task,
        "answer": "1",
        "correct": int(correct),
        "prompt_tokens": 100,
        "completion_tokens": 100,
        "hidden_reasoning": int(model == "hides"),
        "n_chars": 300,
        "n_lines": 3,
        "n_hedge": 0,
        "n_back": 0,
        "n_digits": 5,
        "zratio": 0.5,
    }


def _rows(count: int) -> Sequence[dict[str, Any]]:
    """Problems of a task that no rung solves, and of one that the dearest does."""
    rng = Random(1)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        hopeless = number % 2 == 0
        task = "hopeless" if hopeless else "hard"
        right = {
            "small": rng.random() < 0.1,
            "middle": False,
            "large": not hopeless,
            "hides": True,
        }
        rows += [
            _row(f"p{number}", task, model, correct=correct) for model, correct in right.items()
        ]
    return rows


def test_search_goes_up_until_a_rung_is_right() -> None:
    """By price; a model that hides what it reasoned has no price, and is no rung."""
    first, second = climbs(_rows(2), PRICES)
    assert (first.first_right, first.solved) == (False, False)
    assert (second.first_right, second.solved) == (False, True)
    assert first.first_cost == pytest.approx(200 * 0.1 * 1000)
    assert first.rest_cost == second.rest_cost == pytest.approx(200 * (0.5 + 5.0) * 1000)


def test_problem_with_a_rung_missing_is_left_out() -> None:
    """Nobody knows what it would have come to."""
    rows = [row for row in _rows(4) if (row["problem_id"], row["model"]) != ("p1", "large")]
    assert [one.problem_id for one in climbs(rows, PRICES)] == ["p0", "p2", "p3"]


def test_hopeless_searches_are_saved() -> None:
    """Half of them, with nothing lost; as well where fitting and judging are apart."""
    found = climbs(_rows(400), PRICES)
    figures = judge_climbs_by_folds(found, seeds=1)
    assert figures["auroc"] == pytest.approx(1.0, abs=0.01)
    match figures["cost_to_keep_95"]:
        case {"value": float(value), "low": float(low), "high": float(high)}:
            assert 0.4 < low <= value <= high < 0.6
        case other:
            pytest.fail(f"no figure with an interval: {other}")
    apart = judge_climbs_apart(found[:200], found[200:])
    assert apart["problems"] == 200
    assert all(one.cheap_right == 0 for one in search_examples(found))


def test_part_that_is_fitted_on_is_told_by_the_problem() -> None:
    """About 60 %, and always the same."""
    ids = [f"problem {number}" for number in range(2000)]
    assert sum(map(is_fitted, ids)) / len(ids) == pytest.approx(0.6, abs=0.04)
    assert [is_fitted(one) for one in ids] == [is_fitted(one) for one in ids]
