"""One call that has to be made more than once: a journal row an attempt, and who pays for each."""

import asyncio

from app.money import to_usd
from app.providers.completion import (
    Completion,
    FinishReason,
    ProviderInvalidResponse,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from app.providers.scripted import Answer, by_op, in_turn, reply
from tests.gateway import OUTPUT_RATE, CallRow, Json, cost, exact, fathom

SINGLE: Json = {"mode": "single"}
OVERLOADED = ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=0)
LOST = ProviderUnavailable("cut off", may_have_worked=True, retry_after_s=0)
SILENT = Completion("x" * 400, FinishReason.STOP, usage=None, returned_model="scripted")


async def _journal(url: str, *answers: Answer) -> tuple[Json, list[CallRow], dict[str, int]]:
    async with fathom(url, in_turn(*answers)) as running:
        return await running.solved(SINGLE), await running.calls(), await running.accounts()


async def test_attempt_that_never_reached_a_model_costs_nothing(sqlite_url: str) -> None:
    """Two attempts, two rows, one charge."""
    solve, calls, accounts = await _journal(sqlite_url, OVERLOADED, reply("7"))
    assert [(c.op, c.attempt, c.state, c.cost) for c in calls] == [
        ("gate.first", 1, "failed", 0),
        ("gate.first", 2, "ok", cost(10, 5)),
    ]
    assert accounts == {"tenant": cost(10, 5), "provider": -cost(10, 5)}
    assert solve["cost"]["total_usd"] == to_usd(cost(10, 5))
    assert solve["usage"]["by_expert"][0]["calls"] == 2


async def test_attempt_that_may_have_worked_waits_in_suspense(sqlite_url: str) -> None:
    """Its provider may charge for it: the operator keeps its worst case in mind, no tenant pays."""
    solve, calls, accounts = await _journal(sqlite_url, LOST, reply("7"))
    assert accounts["suspense"] == calls[0].max_cost
    assert accounts["tenant"] == cost(10, 5)
    assert solve["cost"]["total_usd"] == to_usd(cost(10, 5))


async def test_attempts_are_bounded(sqlite_url: str) -> None:
    """Three, and the failure is the caller's to handle."""
    async with fathom(sqlite_url, OVERLOADED) as running:
        assert (await running.solve(SINGLE)).status_code == 503
        assert [call.attempt for call in await running.calls()] == [1, 2, 3]


async def test_refusal_is_not_repeated(sqlite_url: str) -> None:
    """The same request would be refused again."""
    refused = ProviderRefused("not with these words", may_have_worked=False)
    async with fathom(sqlite_url, refused) as running:
        assert (await running.solve(SINGLE)).status_code == 502
        assert [call.attempt for call in await running.calls()] == [1]


async def test_reply_that_is_no_answer_costs_what_its_provider_says(sqlite_url: str) -> None:
    """It is waste, but it is known to the token: nothing waits in suspense."""
    empty = ProviderInvalidResponse("no choices", usage=Usage(10, 5))
    async with fathom(sqlite_url, empty) as running:
        response = await running.solve(SINGLE)
        assert (response.status_code, response.json()["code"]) == (502, "upstream-invalid-response")
        assert response.json()["spent_usd"] == to_usd(cost(10, 5))
        (call,) = await running.calls()
        assert (call.state, call.cost, call.estimated) == ("failed", cost(10, 5), False)
        assert await running.accounts() == {"tenant": cost(10, 5), "provider": -cost(10, 5)}


async def test_no_attempt_is_made_for_a_search_that_has_its_answer(sqlite_url: str) -> None:
    """Nobody waits until a provider may be asked again for what nobody needs any more."""
    later = ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=50)
    async with fathom(sqlite_url, by_op({"t1": later, "t2": reply("391")})) as running:
        search: Json = {"mode": "search", "search": {"concurrency": 2, "max_nodes": 2}}
        async with asyncio.timeout(10):
            solve = await running.solved(search | exact("391"))
        assert (solve["output_text"], solve["stop_reason"]) == ("391", "target_score")
        assert sorted(running.ops()) == ["t1", "t2"]


async def test_answer_without_usage_is_charged_by_our_own_count(sqlite_url: str) -> None:
    """Marked as estimated, never more than was held; the rest waits in suspense."""
    solve, calls, accounts = await _journal(sqlite_url, SILENT)
    (call,) = calls
    assert (call.state, call.estimated) == ("ok", True)
    assert 100 * OUTPUT_RATE <= call.cost <= call.max_cost
    assert accounts["suspense"] == call.max_cost - call.cost
    assert solve["cost"]["estimated"] is True
    assert solve["usage"]["unreported_calls"] == 1
    assert solve["cost"]["total_usd"] == to_usd(call.cost)


async def test_charge_above_the_worst_case_is_the_operators_loss(sqlite_url: str) -> None:
    """The tenant pays what was held and not a nano-dollar more; the outcome is never refused."""
    solve, calls, accounts = await _journal(sqlite_url, reply("7", output_tokens=9_000))
    (call,) = calls
    assert call.cost == call.max_cost
    assert solve["cost"]["total_usd"] == to_usd(call.max_cost)
    assert accounts["platform_loss"] == cost(10, 9_000) - call.max_cost
    assert accounts["provider"] == -cost(10, 9_000)
