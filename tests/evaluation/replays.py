"""A folder of recordings in the published columns, small enough to see through."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

MODELS: Final = ("cheap", "strong", "hidden")
PRICES: Final = ([0.2, 0.6], [3, 15], [1.1, 4.4])
SAMPLES: Final = 3


def write_recordings(folder: Path, *, problems: int = 4, models: Sequence[str] = MODELS) -> Path:
    """The folder, made; the last model has no answer to the last problem.

    The second model is right throughout, the others at problems of odd number.
    """
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir()
    prices = {model: PRICES[min(place, 2)] for place, model in enumerate(models)}
    (folder / "prices.json").write_text(json.dumps(prices), "utf-8")
    names = [str(number + 1) for number in range(problems)]
    rows = [
        _row(name, model, sample, place=models.index(model))
        for name in names
        for model in models
        for sample in reversed(range(SAMPLES))
        if (model, name) != (models[-1], names[-1])
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), folder / "rg_samples.parquet")
    lines = [json.dumps(_problem(name)) for name in names]
    (folder / "rg_problems.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


def _problem(name: str) -> dict[str, Any]:
    return {
        "problem_id": f"p{name}",
        "level": "easy",
        "category": "numbers",
        "task": "counting",
        "question": f"Problem {name}",
        "expected": name,
    }


def _row(name: str, model: str, sample: int, *, place: int) -> dict[str, Any]:
    answer: str | None = name
    score = (1.0, 0.5, 0.25)[sample]
    if name == "1" and place == 0 and sample == 1:
        answer = "2"
    if name == "1" and place == 1:
        answer = ("begins alike", "begins alike", None)[sample]
    if name != "1":
        is_right = place == 1 or int(name) % 2 == 1
        answer, score = (name, 1.0) if is_right else ("0", 0.0)
    return {
        "problem_id": f"p{name}",
        "level": "easy",
        "model": model,
        "sample_idx": sample,
        "answer": answer,
        "answer_hash": f"h{sample}",
        "ans_chars": 100 if answer == "begins alike" else len(answer or ""),
        "score": score,
        "correct": int(score == 1.0),
        "prompt_tokens": 90,
        "completion_tokens": 10 + sample,
    }
