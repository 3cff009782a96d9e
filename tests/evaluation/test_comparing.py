"""A comparison over the gateway's front door: matched, graded apart, and paid for once."""

import asyncio
from pathlib import Path

import pytest

from app.accounts import Allowance
from app.errors import InvalidRequest
from app.evaluation.asking import ComparisonStopped
from app.evaluation.strategies import Match
from app.ledger.periods import Period
from app.money import from_usd
from app.providers.completion import Completion, CompletionRequest, ProviderRefused
from app.providers.scripted import held, reply
from tests.evaluation.comparisons import SUMS, compared, comparison, task_file
from tests.gateway import fathom, unexpected

RIGHT = {"What is 2 + 2?": "4", "Capital of France?": "Paris"}


def knows_sums(request: CompletionRequest) -> Completion:
    """`strong` is always right, the others at sums only."""
    knows = request.model == "strong" or "2" in request.problem
    return reply(RIGHT[request.problem] if knows else "no idea", output_tokens=20)


async def test_every_strategy_does_every_task_and_is_graded(
    sqlite_url: str, tmp_path: Path
) -> None:
    """A row each; one strong call is among them though nobody named it."""
    asked = comparison(task_file(tmp_path, SUMS), "single:cheap,gate")
    async with fathom(sqlite_url, knows_sums) as running:
        rows = await compared(running, asked, tmp_path / "out")
    found = {(row.task, row.strategy): row.right for row in rows}
    assert found[("sum", "single:cheap")] is found[("sum", "strong")] is True
    assert found[("capital", "single:cheap")] is False
    assert found[("capital", "strong")] is True
    assert len(rows) == 6
    assert {row.expert.partition("@")[0] for row in rows if row.strategy == "strong"} == {"strong"}


async def test_what_only_grades_is_never_shown(sqlite_url: str, tmp_path: Path) -> None:
    """The gate decides without it, and no strategy is told a score."""
    asked = comparison(task_file(tmp_path, SUMS), "gate")
    async with fathom(sqlite_url, knows_sums) as running:
        rows = await compared(running, asked, tmp_path / "out")
        solves = [
            (await running.client.get(f"/v1/solves/{row.solve}")).raise_for_status().json()
            for row in rows
        ]
    assert [solve["evaluation"] for solve in solves] == [None] * 4


async def test_what_a_strategy_may_climb_by_grades_too(sqlite_url: str, tmp_path: Path) -> None:
    """Where no evaluator is kept for the end, the gateway's own verdict is the grade."""
    shown = {"type": "exact", "visibility": "search", "config": {"expected": "Paris"}}
    line = {"id": "capital", "input": "Capital of France?", "evaluators": [shown]}
    asked = comparison(task_file(tmp_path, [line]), "search:best_of_n,single:cheap")
    async with fathom(sqlite_url, knows_sums) as running:
        rows = {row.strategy: row for row in await compared(running, asked, tmp_path / "out")}
    assert rows["search:best_of_n"].right is True
    assert rows["search:best_of_n"].chance == 1.0
    assert rows["single:cheap"].right is False


async def test_second_run_pays_for_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """Neither for a row that is there, nor for an answer whose row a crash has swallowed."""
    asked, out = comparison(task_file(tmp_path, SUMS), "single:cheap,gate"), tmp_path / "out"
    async with fathom(sqlite_url, knows_sums) as running:
        first = await compared(running, asked, out)
        calls = len(running.provider.requests)
        assert await compared(running, asked, out) == first
        results = out / "results.csv"
        head, *lines = results.read_bytes().splitlines(keepends=True)
        results.write_bytes(b"".join([head, *lines[:2], lines[2][:9]]))
        again = await compared(running, asked, out)
        assert len(running.provider.requests) == calls
    assert {(row.key, row.solve, row.cost_usd) for row in again} == {
        (row.key, row.solve, row.cost_usd) for row in first
    }


async def test_second_run_takes_up_what_is_new(sqlite_url: str, tmp_path: Path) -> None:
    """Another strategy and another seed in the same folder; other tasks belong in another."""
    tasks, out = task_file(tmp_path, SUMS), tmp_path / "out"
    async with fathom(sqlite_url, knows_sums) as running:
        assert len(await compared(running, comparison(tasks, "single:cheap"), out)) == 4
        more = comparison(tasks, "single:cheap,single:second", seeds=[0, 1])
        assert len(await compared(running, more, out)) == 12
        other = comparison(task_file(tmp_path, SUMS[:1]), "single:cheap")
        with pytest.raises(InvalidRequest, match="other tasks_sha256; choose another folder"):
            await compared(running, other, out)


@pytest.mark.parametrize(
    ("strategies", "said"),
    [
        ("single:cheap,single:nobody", "'single:nobody', task 'sum': the gateway says 403"),
        ("single:cheap,search", "'search' has nothing to climb by: task 'sum'"),
    ],
)
async def test_nothing_is_spent_on_what_cannot_be_carried_out(
    sqlite_url: str, tmp_path: Path, strategies: str, said: str
) -> None:
    """One strategy of several that the gateway would refuse stops them all, before any call."""
    asked = comparison(task_file(tmp_path, SUMS), strategies)
    async with fathom(sqlite_url, unexpected) as running:
        with pytest.raises((ComparisonStopped, InvalidRequest), match=said):
            await compared(running, asked, tmp_path / "out")
        assert await running.solves() == []


async def test_task_that_the_gateway_refuses_is_named_first(
    sqlite_url: str, tmp_path: Path
) -> None:
    """And not found after the others were paid for."""
    unfit = {"type": "exact", "visibility": "search", "config": {"wanted": 4}}
    lines = [*SUMS, {"id": "unfit", "input": "x", "evaluators": [unfit]}]
    asked = comparison(task_file(tmp_path, lines), "single:cheap")
    async with fathom(sqlite_url, unexpected) as running:
        with pytest.raises(ComparisonStopped, match=r"task 'unfit'.*422.*nothing was spent"):
            await compared(running, asked, tmp_path / "out")


@pytest.mark.parametrize(
    ("match", "budget"), [(Match.CALLS, "2,3"), (Match.TOKENS, "2500"), (Match.COST, "0.03")]
)
async def test_no_strategy_uses_more_than_the_others_may(
    sqlite_url: str, tmp_path: Path, match: Match, budget: str
) -> None:
    """The bound is hard, whatever is matched and however much a search would like."""
    shown = {"type": "exact", "visibility": "search", "config": {"expected": "never"}}
    line = {"id": "hard", "input": "Capital of France?", "evaluators": [shown]}
    asked = comparison(
        task_file(tmp_path, [line]), "search,best_of_n,gate", match=match, budget=budget
    )
    async with fathom(sqlite_url, knows_sums) as running:
        rows = await compared(running, asked, tmp_path / "out")
    used = {Match.CALLS: "calls", Match.TOKENS: "tokens", Match.COST: "cost_usd"}[match]
    assert all(float(getattr(row, used)) <= float(row.budget) for row in rows)
    assert any(row.calls > 1 for row in rows)


async def test_answer_that_its_bound_has_no_room_for_is_wrong(
    sqlite_url: str, tmp_path: Path
) -> None:
    """At no cost; it neither stops the run nor leaves the task out."""
    asked = comparison(task_file(tmp_path, SUMS[:1]), "single:cheap", budget="0.001")
    async with fathom(sqlite_url, unexpected) as running:
        rows = await compared(running, asked, tmp_path / "out")
    assert {(row.status, row.right, row.cost_usd) for row in rows} == {
        ("budget-exhausted", False, "0.00")
    }


async def test_answer_that_comes_too_late_is_wrong(sqlite_url: str, tmp_path: Path) -> None:
    """Where latency is matched, nothing by the deadline is an answer like any other wrong one."""
    asked = comparison(
        task_file(tmp_path, SUMS[:1]), "single:cheap", match=Match.LATENCY, budget="50"
    )
    async with fathom(sqlite_url, held(asyncio.Event(), reply("4"))) as running:
        rows = await compared(running, asked, tmp_path / "out")
    assert {(row.status, row.right) for row in rows} == {("deadline-no-answer", False)}


async def test_stopped_comparison_begins_nothing_more(sqlite_url: str, tmp_path: Path) -> None:
    """And ends without an error, to be gone on with."""
    asked, stop = comparison(task_file(tmp_path, SUMS), "single:cheap"), asyncio.Event()
    stop.set()
    async with fathom(sqlite_url, unexpected) as running:
        assert await compared(running, asked, tmp_path / "out", stop=stop) == []


async def test_failure_of_a_provider_is_no_wrong_answer(sqlite_url: str, tmp_path: Path) -> None:
    """Nothing could be graded, and the row says why."""
    asked = comparison(task_file(tmp_path, SUMS[:1]), "single:cheap")
    refusal = ProviderRefused("no such model", may_have_worked=False)
    async with fathom(sqlite_url, refusal) as running:
        rows = await compared(running, asked, tmp_path / "out")
    assert [row.right for row in rows] == [None, None]
    assert {row.status for row in rows}.isdisjoint({"completed", "incomplete"})


async def test_budget_of_the_tenant_ends_the_run(sqlite_url: str, tmp_path: Path) -> None:
    """It would tell of the budget and not of the strategies; what was done is kept."""
    little = Allowance(limit=from_usd("0.015"), period=Period.TOTAL)
    lines = [{"id": f"{number}", "input": "What is 2 + 2?", "expected": 4} for number in range(40)]
    asked = comparison(task_file(tmp_path, lines), "single:cheap", budget="0.012", concurrency=1)
    async with fathom(sqlite_url, knows_sums, allowance=little) as running:
        with pytest.raises(ComparisonStopped, match=r"tenant|key"):
            await compared(running, asked, tmp_path / "out")
    assert (tmp_path / "out" / "results.csv").read_text("utf-8").count("\n") > 1
