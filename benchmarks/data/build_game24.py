"""Builds `app/data/game24.jsonl.gz` from the recorded samples; a second run writes the same bytes.

    python -m benchmarks.data.build_game24 SAMPLES.jsonl.gz TASKS.jsonl.gz OUT.jsonl.gz

`app/data/README.md` says what the two sources are and what each derived field means.
"""

import argparse
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter

from app.data.game24 import problem

MODELS: Final = ("gpt-4-io", "gpt-4-cot")

REQUESTS_PER_PUZZLE: Final = 5
"""The 100 samples of a puzzle were drawn in requests of n=20, each of which paid for its prompt."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the samples file, as far as it is used; `problem_...` is a total of the puzzle."""

    problem_id: str
    puzzle: str
    model: str
    sample_idx: int
    answer: str
    text: str | None
    completion_tokens: int
    problem_prompt_tokens: int

    @property
    def is_usable(self) -> bool:
        """False where the recorder's running count was reset, which made a difference negative."""
        return self.completion_tokens >= 0 and self.problem_prompt_tokens >= 0


@dataclass(frozen=True, slots=True)
class Task:
    """One row of the tasks file, as far as it is used."""

    id: str
    rank: int


def select(by_rank: Sequence[_T]) -> list[_T]:
    """Apply `app.data.game24.SELECTION_RULE` to the usable puzzles, easiest first."""
    return [*by_rank[:2], *by_rank[2::5]]


def rows(samples: Path, tasks: Path) -> Iterator[Mapping[str, object]]:
    """The rows of the packaged file, easiest puzzle first and then by model."""
    ranks = {task.id: task.rank for task in _read(tasks, TypeAdapter(Task))}
    recorded: defaultdict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for sample in _read(samples, TypeAdapter(Recorded)):
        if sample.model in MODELS and sample.is_usable:
            recorded[sample.problem_id, sample.model].append(sample)
    ids = {puzzle_id for puzzle_id, _ in recorded}
    usable = [i for i in ids if all((i, model) in recorded for model in MODELS)]
    for puzzle_id in select(sorted(usable, key=lambda i: ranks[i])):
        for model in MODELS:
            yield _row(recorded[puzzle_id, model], rank=ranks[puzzle_id])


def write(packaged: Iterator[Mapping[str, object]], out: Path) -> None:
    """Write gzipped JSON lines, without the time and the name that gzip would add."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in packaged)
    out.write_bytes(gzip.compress(lines.encode(), mtime=0))


def _read(path: Path, adapter: TypeAdapter[_T]) -> Iterator[_T]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield adapter.validate_json(line)


def _row(recorded: list[Recorded], *, rank: int) -> Mapping[str, object]:
    recorded.sort(key=lambda sample: sample.sample_idx)
    first = recorded[0]
    return {
        "problem": problem(first.puzzle),
        "puzzle": first.puzzle,
        "puzzle_id": first.problem_id,
        "rank": rank,
        "model": first.model,
        "samples": [
            {
                "text": sample.answer if sample.text is None else sample.text,
                "input_tokens": sample.problem_prompt_tokens // REQUESTS_PER_PUZZLE,
                "output_tokens": sample.completion_tokens,
            }
            for sample in recorded
        ],
    }


def main() -> None:
    """Read the two sources named on the command line and write the packaged file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("out", type=Path)
    sources = parser.parse_args()
    write(rows(sources.samples, sources.tasks), sources.out)


if __name__ == "__main__":
    main()
