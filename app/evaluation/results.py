"""What a comparison has found so far: `results.csv`, a row a task, strategy, bound and seed.

A row is written when its task is done and never changed, so a run that was cut short goes on from
the file. A last line that a crash left half written is dropped.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from app.errors import InvalidRequest
from app.evaluation.strategies import ArmId, arm_id


@dataclass(frozen=True, slots=True)
class Result:
    """One answer: `right` and `score` are None where nothing could grade it, which is not wrong.

    `status` is the solve's, or the code of the problem that the gateway answered with; `chance` is
    what the gateway said of its answer being right.
    """

    task: str
    category: str
    strategy: str
    budget: str
    seed: int
    right: bool | None
    score: float | None
    status: str
    route: str
    chance: float | None
    cost_usd: str
    tokens: int
    calls: int
    latency_ms: float
    expert: str
    solve: str

    @property
    def arm(self) -> ArmId:
        """The strategy under its bound."""
        return arm_id(self.strategy, self.budget)

    @property
    def key(self) -> tuple[str, ArmId, int]:
        """What there is one row of."""
        return self.task, self.arm, self.seed


COLUMNS = tuple(field.name for field in fields(Result))


class ResultsFile:
    """Appends rows, each whole on disk before the next."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        is_new = not self._path.exists() or not self._path.stat().st_size
        self._file = self._path.open("a", encoding="utf-8", newline="")
        if is_new:
            self._write(COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, result: Result) -> None:
        """Write a row."""
        self._write([_cell(value) for value in asdict(result).values()])

    def _write(self, cells: Iterable[object]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        # In one call: two would leave half a row where the process dies between them.
        self._file.write(line.getvalue())
        self._file.flush()


def read_results(path: Path) -> Sequence[Result]:
    """The rows of a file, none where there is no file; cuts off a half-written last line.

    Raises InvalidRequest for a file that is something else.
    """
    if not path.exists():
        return []
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    path.write_bytes(whole + newline)
    try:
        rows = list(csv.reader(io.StringIO((whole + newline).decode("utf-8"), newline="")))
        if rows and tuple(rows[0]) != COLUMNS:
            raise ValueError("other columns")
        return [_result(row) for row in rows[1:]]
    except (ValueError, TypeError, csv.Error):
        raise InvalidRequest("out", f"{path}: not what this version writes; move it away") from None


def _cell(value: object) -> object:
    if value is None:
        return ""
    return int(value) if isinstance(value, bool) else value


def _result(row: Sequence[str]) -> Result:
    cell = dict(zip(COLUMNS, row, strict=True))
    return Result(
        task=cell["task"],
        category=cell["category"],
        strategy=cell["strategy"],
        budget=cell["budget"],
        seed=int(cell["seed"]),
        right=bool(int(cell["right"])) if cell["right"] else None,
        score=_optional(cell["score"]),
        status=cell["status"],
        route=cell["route"],
        chance=_optional(cell["chance"]),
        cost_usd=cell["cost_usd"],
        tokens=int(cell["tokens"]),
        calls=int(cell["calls"]),
        latency_ms=float(cell["latency_ms"]),
        expert=cell["expert"],
        solve=cell["solve"],
    )


def _optional(text: str) -> float | None:
    return float(text) if text else None
