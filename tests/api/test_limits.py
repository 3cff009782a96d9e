"""Limits of requests, tokens and solves at once, as a caller meets them."""

import asyncio

from sqlalchemy import select, update

from app.accounts import Allowance, Scope, open_tenant, set_limits
from app.db.clock import Ago
from app.db.engine import WriteTx
from app.ids import uuid7
from app.ledger.periods import Period
from app.ledger.quotas import Unit
from app.ledger.tables import LimitWindow
from app.money import from_usd
from app.providers.completion import Completion, CompletionRequest
from app.providers.scripted import reply
from tests.gateway import Fathom, exact, fathom
from tests.ledger.test_counts import widen

ANSWER = reply("391", input_tokens=10, output_tokens=5)
WRONG = reply("392", input_tokens=10, output_tokens=5)
PLENTY = Allowance(from_usd("100"), Period.TOTAL)


async def limited(gateway: Fathom, unit: Unit, most: int) -> None:
    """The client's key is from now on that of a tenant with a limit."""
    database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
    made = await open_tenant(database, name=name, policy="default", allowance=PLENTY)
    await set_limits(database, tenant=name, scope=Scope.TENANT, name=None, limits={unit: most})
    gateway.client.headers["Authorization"] = f"Bearer {made.key}"


async def test_solves_beyond_the_limit_at_once_are_sent_away(database_url: str) -> None:
    """429 says which limit, and when to come again; one that ends makes room."""
    until, arrived = asyncio.Event(), asyncio.Queue[str]()

    async def slow(request: CompletionRequest) -> Completion:
        arrived.put_nowait(request.op)
        await until.wait()
        return ANSWER

    async with fathom(database_url, slow) as gateway:
        await limited(gateway, Unit.CONCURRENT, 2)
        running = [asyncio.create_task(gateway.solve(mode="single")) for _ in range(2)]
        for _ in running:
            await arrived.get()
        refused = await gateway.solve(mode="single")
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (429, "rate-limited")
        assert (problem["scope"], problem["limit"]) == ("tenant", "concurrency")
        assert problem["retryable"] is True
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["RateLimit"] == '"tenant-concurrent-requests-now";r=0'
        assert (
            refused.headers["RateLimit-Policy"]
            == '"tenant-concurrent-requests-now";q=2;qu="concurrent-requests"'
        )
        until.set()
        assert [(await one).status_code for one in running] == [200, 200]
        assert (await gateway.solve(mode="single")).status_code == 200


async def test_request_whose_tokens_do_not_fit_is_sent_away(database_url: str) -> None:
    """Whatever its mode, before any call; an answer tells what is left."""
    async with fathom(database_url, ANSWER) as gateway:
        await limited(gateway, Unit.TOKENS, 500)
        for body in ({"mode": "single"}, {}, exact("391") | {"mode": "search"}):
            refused = await gateway.solve(body)
            assert (refused.status_code, refused.json()["limit"]) == (429, "tokens_per_minute")
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert gateway.ops() == []
        answered = await gateway.solve(mode="single", max_output_tokens=100)
        assert answered.status_code == 200
        policy = answered.headers["RateLimit-Policy"]
        assert '"tenant-tokens-minute";q=500;qu="tokens";w=60' in policy
        read = (await gateway.client.get("/v1/budgets")).json()
        (limit,) = read["limits"]
        assert (limit["unit"], limit["limit"]) == ("tokens", 500)


async def test_search_ends_with_its_best_where_no_tokens_are_left(database_url: str) -> None:
    """And none will be in time: it was admitted, and what it has paid for is returned."""
    async with fathom(database_url, WRONG) as gateway:
        await limited(gateway, Unit.TOKENS, 4_000)
        await widen(gateway.gateway.database)
        body = exact("391") | {"mode": "search", "search": {"concurrency": 1, "max_nodes": 9}}
        solved = await gateway.solved(body)
        assert solved["status"] == "incomplete"
        assert solved["incomplete_details"] == {"reason": "budget_exhausted"}
        assert solved["budget"]["limited_by"] == "tokens_per_minute"
        assert 1 <= len(gateway.ops()) < 9


async def test_searches_of_a_minute_wait_for_the_next(database_url: str) -> None:
    """All were admitted on the same tokens; none of them fails for what the others use."""
    over = asyncio.Event()

    async def slow(_request: CompletionRequest) -> Completion:
        await over.wait()  # so that none ends in time to make room for another in its minute
        return WRONG

    async with fathom(database_url, slow) as gateway:
        await limited(gateway, Unit.TOKENS, 4_000)
        await widen(gateway.gateway.database)
        body = exact("391") | {"mode": "search", "search": {"concurrency": 2, "max_nodes": 2}}
        await end_in(gateway, 5.0)
        asyncio.get_running_loop().call_later(5.5, over.set)
        answers = await asyncio.gather(*(gateway.solved(body) for _ in range(3)))
        assert {solved["stop_reason"] for solved in answers} == {"max_nodes"}
        assert len(gateway.ops()) == 6
        async with gateway.gateway.database.read() as tx:
            windows = (await tx.execute(select(LimitWindow.used, LimitWindow.held))).all()
        assert len(windows) >= 2
        assert sum(used for used, _ in windows) == 6 * 15
        assert sum(held for _, held in windows) == 0


async def test_search_that_is_at_its_target_waits_for_no_minute(database_url: str) -> None:
    """Nobody needs the answer of the call that waits."""
    async with fathom(database_url, ANSWER) as gateway:
        await limited(gateway, Unit.TOKENS, 1_500)
        await widen(gateway.gateway.database)
        await end_in(gateway, 40.0)
        body = exact("391") | {"mode": "search", "search": {"concurrency": 2, "max_nodes": 9}}
        async with asyncio.timeout(20.0):
            solved = await gateway.solved(body)
        assert (solved["status"], solved["stop_reason"]) == ("completed", "target_score")
        assert len(gateway.ops()) == 1


async def end_in(gateway: Fathom, seconds: float) -> None:
    """Let every window end then."""

    async def work(tx: WriteTx) -> None:
        await tx.execute(update(LimitWindow).values(window_end=Ago(-seconds)))

    await gateway.gateway.database.write(work)
