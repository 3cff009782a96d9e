"""The time a solve may take: what is paid for is returned, and nothing runs on after it."""

import asyncio

import pytest

from app.db.engine import WriteTx
from app.money import NanoUSD, to_usd
from app.providers.completion import CompletionRequest, ProviderUnavailable
from app.providers.scripted import Answer, by_op, in_turn, reply
from tests.gateway import Json, cost, exact, fathom, scripted_config

SOON: Json = {"budget": {"deadline_ms": 150}}
LATER: Json = {"budget": {"deadline_ms": 1_000}}
"""For what has to happen before the deadline, on a machine that is busy with other things."""
RIGHT = exact("391")


async def hang(_request: CompletionRequest) -> Answer:
    """A model that never answers."""
    await asyncio.Event().wait()
    raise AssertionError("nothing sets that event")


async def test_deadline_before_any_answer_is_a_gateway_timeout(sqlite_url: str) -> None:
    """Nothing came in time: 504, retryable, and nothing is charged."""
    for body in ({"mode": "single"}, {}, {"mode": "search", **RIGHT}, RIGHT):
        async with fathom(sqlite_url, hang) as running:
            response = await running.solve(body | SOON)
            problem = response.json()
            assert (response.status_code, problem["code"]) == (504, "deadline-no-answer"), body
            assert problem["retryable"] is True
            assert problem["spent_usd"] == "0.00"
            assert running.provider.in_flight == 0


async def test_hung_call_is_suspense_until_reconciled(sqlite_url: str) -> None:
    """Its bytes left, so the provider may charge for it: not the tenant, and not forgotten."""
    async with fathom(sqlite_url, hang) as running:
        await running.solve(SOON, mode="single")
        (call,) = await running.calls()
        assert call.state in {"failed", "cancelled"}
        assert call.cost == 0
        assert await running.accounts() == {"suspense": call.max_cost, "provider": -call.max_cost}


async def test_hung_call_is_named(sqlite_url: str) -> None:
    """Who did not answer is told like whoever failed in another way."""
    script = by_op({"gate.first": reply("7"), "*": hang})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(LATER)
        (failure,) = solve["failures"]
        assert (failure["expert"], failure["calls"]) == ("second", 1)
        assert failure["error"]
        assert sum(one["calls"] for one in solve["usage"]["by_expert"]) == 2


async def test_deadline_during_the_opinion_returns_the_first_answer(sqlite_url: str) -> None:
    """It was paid for; that nobody confirmed it is said."""
    script = by_op({"gate.first": reply("7"), "*": hang})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(LATER)
        assert solve["output_text"] == "7"
        assert (solve["status"], solve["stop_reason"]) == ("incomplete", "deadline")
        assert solve["incomplete_details"] == {"reason": "deadline"}


async def test_deadline_during_the_strong_call_returns_an_earlier_answer(sqlite_url: str) -> None:
    """The route was strong; what it found by then is what the gate had."""
    script = by_op({"gate.first": reply("7"), "gate.second": reply("8"), "*": hang})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(LATER)
        assert solve["output_text"] == "7"
        assert solve["incomplete_details"] == {"reason": "deadline"}
        assert solve["decision"]["route"] == "strong"


async def test_deadline_in_a_search_returns_its_best(sqlite_url: str) -> None:
    """Workers that still wait are cancelled; the tree so far is kept and readable."""
    script = by_op({"t1": reply("39"), "t2": reply("7"), "*": hang})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(
            {"mode": "search", "search": {"concurrency": 2}} | RIGHT | LATER
        )
        assert (solve["status"], solve["stop_reason"]) == ("incomplete", "deadline")
        assert solve["search"]["nodes"] == 2
        assert solve["output_text"] == "39"
        assert running.provider.in_flight == 0
        tree = (await running.client.get(solve["links"]["tree"])).json()
        assert [node["answer"] for node in tree["nodes"]] == ["39", "7"]


async def test_deadline_after_the_target_changes_nothing(sqlite_url: str) -> None:
    """A search that had its answer, and waited only for a call in flight, is complete."""
    script = by_op({"t1": reply("391"), "*": hang})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(
            {"mode": "search", "search": {"concurrency": 2}} | RIGHT | LATER
        )
        assert (solve["status"], solve["stop_reason"]) == ("completed", "target_score")
        assert solve["incomplete_details"] is None
        assert running.provider.in_flight == 0


BOOKED_LATE: list[tuple[Json, list[Answer], str]] = [
    ({"mode": "single", **RIGHT}, [reply("7")], "7"),
    ({"mode": "search", "search": {"concurrency": 1}, **RIGHT}, [reply("39")], "39"),
    ({}, [reply("7"), reply("8"), reply("8")], "8"),
]


@pytest.mark.parametrize(("body", "answers", "text"), BOOKED_LATE)
async def test_answer_that_is_paid_for_as_the_time_ends_is_returned(
    body: Json, answers: list[Answer], text: str, sqlite_url: str
) -> None:
    """It came in time, and was still being booked when the deadline struck."""
    passed = asyncio.Event()

    async def wait(_tx: WriteTx) -> None:
        await passed.wait()

    async with asyncio.TaskGroup() as tasks:

        async def last(_request: CompletionRequest) -> Answer:
            tasks.create_task(running.gateway.database.write(wait))
            await asyncio.sleep(0)
            return answers[-1]

        async with fathom(sqlite_url, in_turn(*answers[:-1], last)) as running:
            asyncio.get_running_loop().call_later(1.5, passed.set)
            solve = await running.solved(body | LATER, include=["candidates"])
        assert solve["output_text"] == text
        assert (solve["status"], solve["stop_reason"]) == ("incomplete", "deadline")
        assert len(solve["candidates"]) == len(answers)
        assert solve["cost"]["total_usd"] == to_usd(NanoUSD(len(answers) * cost(10, 5)))


async def test_no_attempt_is_made_that_would_outlast_the_deadline(sqlite_url: str) -> None:
    """A provider that asks to come back later than the deadline is not asked again."""
    later = ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=60)
    async with fathom(sqlite_url, in_turn(later, later)) as running:
        response = await running.solve(mode="single")
        assert response.status_code == 503
        assert running.ops() == ["gate.first"]


async def test_policy_bounds_the_deadline_that_a_request_may_ask_for(sqlite_url: str) -> None:
    """A request may narrow its policy, never widen it."""
    async with fathom(sqlite_url, hang, config=scripted_config(deadline_s=0.1)) as running:
        response = await running.solve(mode="single", budget={"deadline_ms": 600_000})
        assert response.status_code == 504
