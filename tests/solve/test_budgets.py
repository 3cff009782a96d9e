"""What a solve may spend: refused before its first call, narrowed, or ended with its best."""

import itertools
from dataclasses import replace

import pytest

from app.accounts import Allowance
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd, to_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, Script, by_op, reply
from tests.gateway import (
    INPUT_RATE,
    OUTPUT_RATE,
    OUTPUT_TOKENS_MAX,
    Fathom,
    Json,
    cost,
    exact,
    fathom,
    unexpected,
)

PROBLEM = "What is 17 * 23?"
INPUT_BOUND = len(PROBLEM) + 16
WORST = cost(INPUT_BOUND, OUTPUT_TOKENS_MAX)
"""What one fresh call of a scripted expert holds."""

RIGHT = exact("391")


def searched(concurrency: int, **budget: object) -> Json:
    """A forced search of up to eight nodes."""
    search = {"max_nodes": 8, "patience": 8, "concurrency": concurrency}
    return {"mode": "search", "search": search, "budget": budget} | RIGHT


def wrong(output_tokens: int = 5) -> Script:
    """Wrong answers, each another one, of one length."""
    numbers = itertools.count(1000)

    def script(_request: CompletionRequest) -> Answer:
        return reply(f"{next(numbers)}", output_tokens=output_tokens)

    return script


def only(dollars: str) -> Allowance:
    """A tenant that may spend so much, once and for all."""
    return Allowance(limit=from_usd(dollars), period=Period.TOTAL)


@pytest.mark.parametrize("mode", ["auto", "single", "search"])
async def test_cap_below_the_shortest_call_is_refused_before_any_call(
    mode: str, sqlite_url: str
) -> None:
    """402 with the facts; the provider is not asked, nothing is held, no solve is left."""
    async with fathom(sqlite_url, unexpected) as running:
        shortest = cost(INPUT_BOUND, 256)
        cap = to_usd(NanoUSD(shortest - 1))
        response = await running.solve(RIGHT, mode=mode, budget={"max_cost_usd": cap})
        problem = response.json()
        assert (response.status_code, problem["code"]) == (402, "budget-exhausted")
        assert problem["scope"] == "request"
        assert (problem["remaining_usd"], problem["needed_usd"]) == (cap, to_usd(shortest))
        assert problem["retryable"] is False
        assert await running.solves() == []


@pytest.mark.parametrize("mode", ["auto", "single", "search"])
async def test_cap_below_the_worst_case_narrows_the_answer(mode: str, sqlite_url: str) -> None:
    """The provider is asked for no more than the cap can pay, and for at least 256 tokens."""
    async with fathom(sqlite_url, reply("391")) as running:
        for tokens in (256, 300, OUTPUT_TOKENS_MAX - 1):
            cap = to_usd(NanoUSD(cost(INPUT_BOUND, tokens) + OUTPUT_RATE - 1))
            body = RIGHT | {"mode": mode, "search": {"concurrency": 1}}
            await running.solved(body, budget={"max_cost_usd": cap})
            assert running.provider.requests[-1].max_output_tokens == tokens


async def test_callers_own_bound_on_tokens_is_never_narrowed_below_what_it_says(
    sqlite_url: str,
) -> None:
    """An answer of 10 tokens was asked for: it is 10 or nothing, whatever the usual floor."""
    async with fathom(sqlite_url, reply("7")) as running:
        cap = to_usd(cost(INPUT_BOUND, 10))
        body: Json = {"mode": "single", "max_output_tokens": 10}
        await running.solved(body, budget={"max_cost_usd": cap})
        assert running.provider.requests[-1].max_output_tokens == 10
        less = to_usd(NanoUSD(cost(INPUT_BOUND, 10) - 1))
        assert (await running.solve(body, budget={"max_cost_usd": less})).status_code == 402


async def test_search_that_meets_its_cap_returns_its_best(sqlite_url: str) -> None:
    """Incomplete, never above the cap, and as near to it as one more call allows."""
    async with fathom(sqlite_url, wrong(output_tokens=400)) as running:
        cap = from_usd("0.02")
        solve = await running.solved(searched(1, max_cost_usd="0.02"))
        assert (solve["status"], solve["stop_reason"]) == ("incomplete", "budget")
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        assert solve["budget"]["limited_by"] == "request"
        assert solve["output_text"] == "1000"
        assert cap - WORST * 2 < from_usd(solve["cost"]["total_usd"]) <= cap


async def test_workers_wait_for_the_room_that_others_hold(sqlite_url: str) -> None:
    """Two worst cases fill the cap; what the calls really cost would pay for a hundred."""
    async with fathom(sqlite_url, wrong()) as running:
        cap = to_usd(NanoUSD(WORST * 5 // 2))
        solve = await running.solved(searched(4, max_cost_usd=cap))
        assert solve["stop_reason"] == "max_nodes"
        assert solve["search"]["nodes"] == 8
        assert running.provider.max_in_flight <= 2


async def test_workers_wait_for_the_tokens_that_others_hold(sqlite_url: str) -> None:
    """The same of a bound on tokens."""
    async with fathom(sqlite_url, wrong()) as running:
        tokens = (INPUT_BOUND + OUTPUT_TOKENS_MAX) * 5 // 2
        solve = await running.solved(searched(4, max_total_tokens=tokens))
        assert solve["stop_reason"] == "max_nodes"


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_tenant_that_runs_out_in_the_middle_gets_the_best_so_far(
    concurrency: int, sqlite_url: str
) -> None:
    """The hold cannot grow any more: incomplete, and the tenant's budget is not overdrawn."""
    async with fathom(sqlite_url, wrong(output_tokens=400), allowance=only("0.03")) as running:
        solve = await running.solved(searched(concurrency))
        assert (solve["status"], solve["stop_reason"]) == ("incomplete", "budget")
        assert solve["budget"]["limited_by"] in {"tenant", "key"}
        spent = from_usd(solve["cost"]["total_usd"])
        assert from_usd("0.03") - WORST < spent <= from_usd("0.03")


async def test_solve_that_meets_what_its_tenant_had_left_names_the_tenants_budget(
    sqlite_url: str,
) -> None:
    """What was left became the cap, and the request asked for more: its own bound was far off."""
    script = wrong(output_tokens=400)
    async with fathom(sqlite_url, script, allowance=only("0.02")) as running:
        narrowed = await running.solved(searched(2, max_cost_usd="0.10"))
        assert narrowed["incomplete_details"] == {"reason": "budget_exhausted"}
        assert narrowed["budget"]["limited_by"] in {"tenant", "key"}
    async with fathom(f"{sqlite_url}.rich", script) as running:
        asked = await running.solved(searched(2, max_cost_usd="0.02"))
        assert asked["budget"]["limited_by"] == "request"


@pytest.mark.parametrize("period", list(Period))
async def test_tenant_with_less_than_a_first_hold_is_served_in_what_it_has(
    period: Period, sqlite_url: str
) -> None:
    """Half a cent is no full call but a shorter one: also the very first, in a new period."""
    allowance = Allowance(limit=from_usd("0.005"), period=period)
    async with fathom(sqlite_url, reply("7"), allowance=allowance) as running:
        solve = await running.solved(mode="single")
        assert solve["budget"]["limited_by"] in {"tenant", "key"}
        assert solve["budget"]["max_cost_usd"] == "0.005"
        assert 256 <= running.provider.requests[-1].max_output_tokens < OUTPUT_TOKENS_MAX


async def test_refusal_names_the_budget_that_refused_and_when_it_starts_anew(
    sqlite_url: str,
) -> None:
    """What to do next: wait for that budget's period, or ask for more of it."""
    allowance = Allowance(limit=from_usd("0.001"), period=Period.DAY)
    async with fathom(sqlite_url, unexpected, allowance=allowance) as running:
        for _ in range(2):
            response = await running.solve()
            problem = response.json()
            assert (response.status_code, problem["code"]) == (402, "budget-exhausted")
            assert problem["scope"] in {"tenant", "key"}
            assert problem["remaining_usd"] == "0.001"
            assert problem["resets_at"] > 0
        assert await running.solves() == []


async def test_exhausted_budget_may_fail_instead(sqlite_url: str) -> None:
    """`on_exhausted: fail` gives no answer, and says what was spent on none."""
    async with fathom(sqlite_url, wrong(output_tokens=400)) as running:
        body = searched(1, max_cost_usd="0.02", on_exhausted="fail")
        response = await running.solve(body)
        problem = response.json()
        assert (response.status_code, problem["code"]) == (402, "budget-exhausted")
        assert from_usd(problem["spent_usd"]) == sum(c.cost for c in await running.calls()) > 0
        assert await running.solves() == ["failed"]


async def test_refusal_after_calls_has_the_facts_of_one_before_them(sqlite_url: str) -> None:
    """Which budget, what is left of it and was needed, and when it starts anew; also replayed."""
    allowance = Allowance(limit=from_usd("0.02"), period=Period.DAY)
    async with fathom(sqlite_url, wrong(output_tokens=400), allowance=allowance) as running:
        body: Json = {"input": PROBLEM, "seed": 1} | searched(1, on_exhausted="fail")
        for replayed in (False, True):
            response = await running.client.post(
                "/v1/solve", json=body, headers={"Idempotency-Key": "k"}
            )
            problem = response.json()
            assert (response.status_code, problem["code"]) == (402, "budget-exhausted")
            assert ("Idempotency-Replayed" in response.headers) is replayed
            assert problem["scope"] in {"tenant", "key"}
            left = from_usd("0.02") - from_usd(problem["spent_usd"])
            remaining, needed = problem["remaining_usd"], problem["needed_usd"]
            assert 0 <= from_usd(remaining) <= left
            assert from_usd(remaining) < from_usd(needed) <= WORST
            assert problem["resets_at"] > 0


async def test_refusal_by_a_bound_of_the_request_names_it(sqlite_url: str) -> None:
    """A number of calls has no dollars that could be left, and never starts anew."""
    async with fathom(sqlite_url, wrong()) as running:
        response = await running.solve(searched(1, max_calls=2, on_exhausted="fail"))
        problem = response.json()
        assert (response.status_code, problem["code"]) == (402, "budget-exhausted")
        assert problem["scope"] == "max_calls"
        assert "remaining_usd" not in problem


async def test_number_of_calls_is_bounded(sqlite_url: str) -> None:
    """No call beyond it, and the best of those before."""
    async with fathom(sqlite_url, wrong()) as running:
        solve = await running.solved(searched(4, max_calls=3))
        assert len(running.provider.requests) == 3
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        assert solve["budget"]["limited_by"] == "max_calls"


async def test_number_of_tokens_is_bounded(sqlite_url: str) -> None:
    """A call is made only if its worst case still fits."""
    async with fathom(sqlite_url, wrong(output_tokens=400)) as running:
        solve = await running.solved(searched(1, max_total_tokens=2_000))
        assert solve["usage"]["total_tokens"] <= 2_000
        assert solve["budget"]["limited_by"] == "max_total_tokens"
        assert len(running.provider.requests) == 3


async def test_tokens_that_no_provider_reported_are_bounded_too(sqlite_url: str) -> None:
    """By our own count, a token for four bytes, as they are charged: 400 leave no second call."""
    silent = replace(reply(f"{'x' * 1_598}\n7"), usage=None)
    async with fathom(sqlite_url, silent) as running:
        worst = INPUT_BOUND + OUTPUT_TOKENS_MAX
        solve = await running.solved(budget={"max_total_tokens": worst + 399})
        assert running.ops() == ["gate.first"]
        assert solve["usage"]["unreported_calls"] == 1
        assert solve["budget"]["limited_by"] == "max_total_tokens"
        await running.solved(budget={"max_total_tokens": worst + 404})
        assert running.ops()[1:] == ["gate.first", "gate.second"]


@pytest.mark.parametrize("bound", [{"max_calls": 1}, {"max_cost_usd": to_usd(WORST)}])
async def test_gate_that_cannot_buy_its_opinion_returns_the_first_answer(
    bound: Json, sqlite_url: str
) -> None:
    """Incomplete, since nobody confirmed it; and the decision is explained all the same."""
    async with fathom(sqlite_url, reply("7")) as running:
        solve = await running.solved(budget=bound)
        assert running.ops() == ["gate.first"]
        assert solve["output_text"] == "7"
        assert solve["incomplete_details"] == {"reason": "budget_exhausted"}
        assert solve["decision"]["route"] == "single"


async def test_gate_that_cannot_buy_its_strong_call_returns_an_earlier_answer(
    sqlite_url: str,
) -> None:
    """Disagreement wanted a strong call, which two calls leave no room for."""
    script = by_op({"gate.first": reply("7"), "gate.second": reply("8")})
    async with fathom(sqlite_url, script) as running:
        solve = await running.solved(budget={"max_calls": 2})
        assert (solve["output_text"], solve["status"]) == ("7", "incomplete")
        assert solve["budget"]["limited_by"] == "max_calls"


async def _spend(running: Fathom, output_tokens: int) -> NanoUSD:
    solve = await running.solved(mode="single")
    assert solve["usage"]["output_tokens"] == output_tokens
    return from_usd(solve["cost"]["total_usd"])


async def test_budget_is_spent_to_its_end_and_no_further(sqlite_url: str) -> None:
    """One solve after another, each shorter as less is left, until none fits."""
    script = reply("7", output_tokens=250)
    async with fathom(sqlite_url, script, allowance=only("0.01")) as running:
        spent = [await _spend(running, 250) for _ in range(3)]
        assert (await running.solve(mode="single")).status_code == 402
        left = from_usd("0.01") - sum(spent)
        assert 0 <= left < cost(INPUT_BOUND, 256)
        asked = [request.max_output_tokens for request in running.provider.requests]
        assert asked == sorted(asked, reverse=True)


async def test_cost_is_the_price_of_the_tokens(sqlite_url: str) -> None:
    """By hand, once: 10 tokens in and 400 out."""
    async with fathom(sqlite_url, reply("7", output_tokens=400)) as running:
        solve = await running.solved(mode="single")
        assert solve["cost"]["total_usd"] == to_usd(NanoUSD(10 * INPUT_RATE + 400 * OUTPUT_RATE))
