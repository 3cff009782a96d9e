"""Runs a comparison: every task by every strategy under every bound, each answer paid for once.

All that could be refused is asked of the gateway before anything is spent. What is done is on disk
at once, and a run of the same comparison in the same folder does only what is left.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from app.errors import InvalidRequest
from app.evaluation.asking import OWN_BOUNDS, Asking, ComparisonStopped, Reply
from app.evaluation.grading import UNKNOWN, WRONG, Grade, Grader
from app.evaluation.results import Result, ResultsFile, read_results
from app.evaluation.strategies import Arm, Bound, Match, Searching, Strategy
from app.evaluation.tasks import Task, TaskFile

Json = dict[str, Any]
ROLE_CAP_USD: Final = "1000"
"""A cap that leaves no expert of a policy out; it is only estimated with, never spent."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared. `cap_usd` bounds a task's cost where something else is matched."""

    tasks: TaskFile
    strategies: Sequence[Strategy]
    match: Match
    amounts: Sequence[str]
    cap_usd: str
    searching: Searching
    seeds: Sequence[int]
    concurrency: int = 4

    @property
    def arms(self) -> Sequence[Arm]:
        """Every strategy under every bound."""
        return [
            Arm(strategy, Bound(self.match, amount, self.cap_usd))
            for amount in self.amounts
            for strategy in self.strategies
        ]

    def fixed(self) -> Json:
        """What a second run in the same folder must not change."""
        return {
            "tasks_sha256": self.tasks.sha256,
            "match": self.match,
            "cap_usd": self.cap_usd,
            "nodes_max": self.searching.nodes_max,
            "patience": self.searching.patience,
            "width": self.searching.width,
        }


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a comparison is kept; `run` names it for good, so that no answer is paid for twice."""

    path: Path
    run: str

    @property
    def results(self) -> Path:
        """The rows so far."""
        return self.path / "results.csv"

    def idempotency_key(self, arm: Arm, task: Task, seed: int) -> str:
        """The key of one answer."""
        named = json.dumps([self.run, arm.id, task.id, seed])
        return f"fathom-eval-{hashlib.sha256(named.encode()).hexdigest()[:40]}"

    def tenant(self, arm: Arm, seed: int) -> str:
        """The name of a tenant that asks for one arm alone, in a gateway of our own."""
        named = json.dumps([self.run, arm.id, seed])
        return f"eval-{hashlib.sha256(named.encode()).hexdigest()[:24]}"


def open_folder(path: Path, comparison: Comparison) -> Folder:
    """The folder, made where there is none. Raises InvalidRequest for another comparison's."""
    path.mkdir(parents=True, exist_ok=True)
    kept, asked = path / "run.json", comparison.fixed()
    if not kept.exists():
        kept.write_text(json.dumps({"run": uuid4().hex, "fixed": asked}, indent=2) + "\n", "utf-8")
    found = json.loads(kept.read_text("utf-8"))
    changed = [name for name, value in asked.items() if found["fixed"].get(name) != value]
    if changed:
        said = f"{path}: holds a comparison with other {', '.join(changed)}; choose another folder"
        raise InvalidRequest("out", said)
    return Folder(path, found["run"])


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer to be had."""

    arm: Arm
    task: Task
    seed: int


KeyOf = Callable[[Arm, int], str]
"""The gateway's key to ask with, for an arm and a seed."""

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


class Comparing:
    """Carries a comparison out against a gateway."""

    def __init__(
        self,
        comparison: Comparison,
        asking: Asking,
        *,
        keys: KeyOf,
        grader: Grader,
        folder: Folder,
    ) -> None:
        self._comparison, self._asking, self._keys = comparison, asking, keys
        self._grader, self._folder = grader, folder

    async def check(self, *, progress: Progress, stop: asyncio.Event) -> Sequence[Arm]:
        """The arms, with every expert named. Nothing is spent; `stop` cuts it short.

        Raises InvalidRequest or ComparisonStopped for what could not be carried out.
        """
        tasks, arms = self._comparison.tasks.tasks, self._comparison.arms
        searching = [arm for arm in arms if arm.strategy.kind == "search"]
        for task in tasks:
            self._grader.check(task)
            if searching and not task.is_scored:
                said = f"has nothing to climb by: task {task.id!r} has no evaluator of visibility"
                raise InvalidRequest("strategies", f"{searching[0].strategy.name!r} {said} search")
        arms = await self._named(arms)
        for arm in arms:
            await self._estimate(arm, tasks[0])
        for number, task in enumerate(tasks):
            if stop.is_set():
                break
            progress(number, len(tasks))
            await self._estimate(arms[0], task)
        return arms

    async def run(self, arms: Sequence[Arm], *, progress: Progress, stop: asyncio.Event) -> bool:
        """Ask for what is not done yet, until `stop` is set; whether everything is done."""
        done = {result.key for result in read_results(self._folder.results)}
        wanted = list(self._wanted(arms))
        left = [one for one in wanted if (one.task.id, one.arm.id, one.seed) not in done]
        finished = len(wanted) - len(left)
        progress(finished, len(wanted))
        waiting = iter(left)
        with ResultsFile(self._folder.results) as results:

            async def work() -> None:
                nonlocal finished
                for one in waiting:
                    if stop.is_set():
                        return
                    results.append(await self._result(one))
                    finished += 1
                    progress(finished, len(wanted))

            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self._comparison.concurrency):
                        workers.create_task(work())
            except ExceptionGroup as failures:
                # One worker failed and the others were cancelled for it: its reason is the reason.
                raise failures.exceptions[0] from None
        return finished == len(wanted)

    def _wanted(self, arms: Sequence[Arm]) -> Iterator[Asked]:
        # Task by task, so that what is done when a run is cut short can be compared.
        for seed in self._comparison.seeds:
            for task in self._comparison.tasks.tasks:
                for arm in arms:
                    yield Asked(arm, task, seed)

    async def _named(self, arms: Sequence[Arm]) -> Sequence[Arm]:
        if not any(arm.strategy.lacks_expert for arm in arms):
            return arms
        expert = await self._strong_expert(arms[0])
        return [
            Arm(arm.strategy.calling(expert), arm.bound) if arm.strategy.lacks_expert else arm
            for arm in arms
        ]

    async def _strong_expert(self, arm: Arm) -> str:
        """Which expert the policy calls strong, as an estimate without evaluators tells."""
        task = self._comparison.tasks.tasks[0]
        plain = {"input": task.body["input"], "budget": {"max_cost_usd": ROLE_CAP_USD}}
        made = await self._asking.estimate(self._key(arm), plain)
        for seat in made["experts"]:
            if seat["role"] == "strong":
                return str(seat["expert"])
        raise InvalidRequest("strategies", "this key's policy calls none strong; say strong:EXPERT")

    async def _estimate(self, arm: Arm, task: Task) -> None:
        seed = self._comparison.seeds[0]
        body = arm.body(task.body, self._comparison.searching, seed=seed)
        try:
            made = await self._asking.estimate(self._key(arm), body)
        except ComparisonStopped as refused:
            said = f"{arm.strategy.name!r}, task {task.id!r}: the gateway says {refused}"
            raise ComparisonStopped(f"{said}; nothing was spent") from None
        refusal = made["refusal"]
        if refusal is not None and refusal.get("scope") not in OWN_BOUNDS:
            said = f"the budget of the {refusal.get('scope')} has no room for {arm.strategy.name!r}"
            raise ComparisonStopped(f"{said}; nothing was spent")

    async def _result(self, one: Asked) -> Result:
        arm, task, seed = one.arm, one.task, one.seed
        body = arm.body(task.body, self._comparison.searching, seed=seed)
        key = self._folder.idempotency_key(arm, task, seed)
        reply = await self._asking.solve(self._keys(arm, seed), body, idempotency_key=key)
        if not reply.is_solve:
            return _row(one, WRONG if reply.is_unanswerable else UNKNOWN, _failed(reply))
        solve = reply.document
        if (limit := solve["budget"]["limited_by"]) not in OWN_BOUNDS:
            said = f"{solve['id']} was limited by the {limit}'s budget, and not by the comparison's"
            raise ComparisonStopped(f"{said}: raise it, and begin in another folder")
        return _row(one, await self._grader.grade(task, solve), _solved(reply))

    def _key(self, arm: Arm) -> str:
        return self._keys(arm, self._comparison.seeds[0])


def _row(one: Asked, grade: Grade, facts: Mapping[str, Any]) -> Result:
    return Result(
        task=one.task.id,
        category=one.task.category or "",
        strategy=one.arm.strategy.name,
        budget=one.arm.bound.amount,
        seed=one.seed,
        right=grade.right,
        score=grade.score,
        **facts,
    )


def _failed(reply: Reply) -> Json:
    problem = reply.document
    return {
        "status": problem["code"],
        "route": "",
        "chance": None,
        "cost_usd": problem.get("spent_usd", "0.00"),
        "tokens": 0,
        "calls": 0,
        "latency_ms": round(reply.ms, 3),
        "expert": "",
        "solve": problem.get("solve_id", ""),
    }


def _solved(reply: Reply) -> Json:
    solve, usage = reply.document, reply.document["usage"]
    names: Sequence[str] = solve["lineage"]["experts"]
    return {
        "status": solve["status"],
        "route": "" if solve["decision"] is None else solve["decision"]["route"],
        "chance": _chance(solve),
        "cost_usd": solve["cost"]["total_usd"],
        "tokens": usage["total_tokens"],
        "calls": sum(expert["calls"] for expert in usage["by_expert"]),
        "latency_ms": solve["timing"]["total_ms"] if reply.is_again else round(reply.ms, 3),
        "expert": names[-1] if names else "",
        "solve": solve["id"],
    }


def _chance(solve: Json) -> float | None:
    """What the gateway said of this answer: its confidence, else what it expected of one call."""
    if solve["confidence"] is not None:
        return float(solve["confidence"])
    decision = solve["decision"]
    if decision is None or decision["route"] != "single":
        return None
    with suppress(KeyError, TypeError):
        return float(decision["p_single"])
    return None
