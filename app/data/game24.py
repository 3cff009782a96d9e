"""Twelve Game of 24 puzzles with what GPT-4 answered to each, packaged for the demonstration.

The answers are in `PATH`, in the format of `app/providers/recordings.py`; README.md beside it says
where they come from and what was and was not recorded. This module names the puzzles; it reads no
answers.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

PATH: Final = Path(__file__).with_name("game24.jsonl.gz")

SELECTION_RULE: Final = (
    "Of the 51 puzzles at hand with usable recordings, ordered by human rank: "
    "the two easiest, then every fifth of the rest."
)


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A recorded puzzle; `rank` is its difficulty for people, 1 the easiest of 1,362."""

    problem: str
    puzzle: str
    puzzle_id: str
    rank: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers to be used, each exactly once."""
        return tuple(int(number) for number in self.puzzle.split())


_ROW = TypeAdapter(Puzzle)


def problem(puzzle: str) -> str:
    """The request that the recordings of a puzzle such as `3 4 4 13` are keyed by."""
    return f"Use the numbers {puzzle} with + - * / to make 24."


def puzzles() -> tuple[Puzzle, ...]:
    """The packaged puzzles, easiest first."""
    with gzip.open(PATH, "rt", encoding="utf-8") as lines:
        rows = {_ROW.validate_python(json.loads(line)) for line in lines}
    return tuple(sorted(rows, key=lambda row: row.rank))
