"""Small comparisons against a gateway whose models follow a script."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.evaluation.asking import Asking
from app.evaluation.comparing import Comparing, Comparison, open_folder
from app.evaluation.grading import Grader
from app.evaluation.results import Result, read_results
from app.evaluation.strategies import Match, Searching, parse_amounts, parse_strategies
from app.evaluation.tasks import TaskFile, read_tasks
from tests.gateway import Fathom

SUMS = [
    {"id": "sum", "input": "What is 2 + 2?", "expected": 4, "category": "sums"},
    {"id": "capital", "input": "Capital of France?", "expected": "Paris", "category": "places"},
]


def task_file(folder: Path, lines: Sequence[object]) -> TaskFile:
    """Tasks as they are read from a file of these lines."""
    path = folder / "tasks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return read_tasks(path)


def comparison(tasks: TaskFile, strategies: str, **more: Any) -> Comparison:  # noqa: ANN401 - its fields
    """Of these strategies, at 10 cents a task unless said otherwise."""
    match: Match = more.pop("match", Match.COST)
    return Comparison(
        tasks=tasks,
        strategies=parse_strategies(strategies),
        match=match,
        amounts=parse_amounts(match, more.pop("budget", "0.10")),
        cap_usd="0.50",
        searching=Searching(nodes_max=more.pop("nodes_max", 4)),
        seeds=more.pop("seeds", [0]),
        concurrency=more.pop("concurrency", 2),
    )


async def compared(
    fathom: Fathom, asked: Comparison, out: Path, *, stop: asyncio.Event | None = None
) -> list[Result]:
    """Carry it out, as one run of the command does, unless it is told to stop; all rows so far."""
    folder = open_folder(out, asked)
    comparing = Comparing(
        asked,
        Asking(fathom.client),
        keys=lambda _arm, _seed: fathom.account.key,
        grader=Grader({}),
        folder=folder,
    )
    stop = asyncio.Event() if stop is None else stop
    arms = await comparing.check(progress=_unseen, stop=stop)
    assert await comparing.run(arms, progress=_unseen, stop=stop) is not stop.is_set()
    return list(read_results(folder.results))


def _unseen(done: int, of: int) -> None:
    assert 0 <= done <= of
