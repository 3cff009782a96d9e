"""The service as it runs: `fathom serve` on real parts, its models behind real HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import func, select

from app.accounts import Allowance, NewAccount, open_tenant
from app.db import migrate
from app.db.engine import Database
from app.ledger.invariants import check
from app.ledger.periods import Period
from app.ledger.price import Price
from app.ledger.tables import Budget, Call
from app.money import NanoUSD, from_usd
from tests.backends import opened
from tests.providers.upstream import KEY, MODEL, Asked, Upstream, completion, respond, upstream
from tests.servers import own_postgresql, own_redis
from tests.solve.serving import gateway_process

PROBLEM: Final = "What is 17 * 23?"
OUTPUT_TOKENS_MAX: Final = 500
REPLICAS: Final = 4
PRICE: Final = Price("upstream", MODEL, input=from_usd("1"), output=from_usd("10"))
FIRST_CALL: Final = PRICE.worst_case(len(PROBLEM.encode()) + 16, OUTPUT_TOKENS_MAX)
ACTUAL: Final = PRICE.cost(19, 10)

CONFIG: Final = f"""
[providers.upstream]
kind = "openai"
base_url = "BASE_URL"
api_key_env = "UPSTREAM_KEY"
concurrency = 400
seed_field = ""

[experts.only]
provider = "upstream"
model = "{MODEL}"
max_output_tokens = {OUTPUT_TOKENS_MAX}
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"

[policies.default]
default_expert = "only"
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The running gateway, a client of it that may spend `limit`, and the models behind it."""

    client: httpx.AsyncClient
    models: Upstream
    database: Database
    account: NewAccount

    async def solve(self, **body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """Post a problem."""
        return await self.client.post("/v1/solve", json={"input": PROBLEM} | body)


@asynccontextmanager
async def service(
    folder: Path, database_url: str, redis_url: str | None, *, limit: NanoUSD
) -> AsyncGenerator[Service]:
    """`fathom serve` on this database, with a tenant that may spend `limit`."""
    tree_store = None if database_url.startswith("sqlite") else redis_url
    async with upstream() as models, opened(database_url) as database:
        config = folder / "fathom.toml"
        config.write_text(CONFIG.replace("BASE_URL", models.base_url))
        allowance = Allowance(limit=limit, period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        async with (
            gateway_process(
                config,
                database_url=database_url,
                redis_url=tree_store,
                UPSTREAM_KEY=KEY,
                lease_s=10,
            ) as (_, address),
            httpx.AsyncClient(
                base_url=address,
                headers={"Authorization": f"Bearer {account.key}"},
                timeout=60,
                limits=httpx.Limits(max_connections=300),
            ) as client,
        ):
            yield Service(client, models, database, account)
        assert [one.name for one in await check(database) if not one.holds] == []


def _answer(_asked: Asked) -> bytes:
    return respond(completion("391"))


async def _totals(database: Database) -> tuple[int, int, int]:
    """(posted, reserved) of the tenant's budget, and the cost of all calls."""
    async with database.read() as tx:
        budget = select(Budget.posted, Budget.reserved).limit(1)
        posted, reserved = (await tx.execute(budget)).one()
        cost = await tx.scalar(select(func.coalesce(func.sum(Call.cost), 0)))
    return posted, reserved, int(cost or 0)


async def test_a_budget_admits_exactly_what_it_can_hold(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """Of 200 solves at once a budget of 50 first holds admits 50, whatever they come to cost."""
    limit = NanoUSD(50 * FIRST_CALL)
    async with service(tmp_path, database_url, redis_url, limit=limit) as running:
        decided = asyncio.Event()

        async def wait_for_all(_asked: Asked) -> bytes:
            await decided.wait()
            return respond(completion("391"))

        running.models.script = wait_for_all
        solves = [asyncio.create_task(running.solve(mode="single")) for _ in range(200)]
        refused = 0
        for done in asyncio.as_completed(solves):
            response = await done
            if refused < 150:
                assert (response.status_code, response.json()["code"]) == (402, "budget-exhausted")
                refused += 1
            if refused == 150 and not decided.is_set():
                await running.models.until(lambda models: models.in_flight == 50, timeout_s=30)
                decided.set()
        codes = [solve.result().status_code for solve in solves]
        assert (codes.count(200), codes.count(402)) == (50, 150)
        assert await _totals(running.database) == (50 * ACTUAL, 0, 50 * ACTUAL)


async def test_holds_are_small_so_that_worst_cases_lock_nobody_out(
    database_url: str, redis_url: str | None, tmp_path: Path
) -> None:
    """200 solves whose first holds fit are all answered, though their worst cases would not fit."""
    crowd = 200 if database_url.startswith("postgresql") else 50  # one writer takes its time
    limit = NanoUSD(crowd * 2 * FIRST_CALL)
    async with service(tmp_path, database_url, redis_url, limit=limit) as running:
        running.models.script = _answer
        solves = await asyncio.gather(*(running.solve(mode="auto") for _ in range(crowd)))
        assert {solve.status_code for solve in solves} == {200}
        posted, reserved, cost = await _totals(running.database)
        assert (posted, reserved) == (cost, 0)


async def test_a_budget_holds_over_four_replicas(tmp_path: Path) -> None:
    """A thousand solves at once: never above the limit at a sample; all that was spent is posted.

    Every replica admits some. The database is a real one of the test's own.
    """
    limit = NanoUSD(400 * FIRST_CALL)
    async with own_postgresql() as postgresql, own_redis() as redis, AsyncExitStack() as stack:
        await migrate.upgrade(postgresql.url)
        models = await stack.enter_async_context(upstream(_answer))
        database = await stack.enter_async_context(opened(postgresql.url))
        config = tmp_path / "fathom.toml"
        config.write_text(CONFIG.replace("BASE_URL", models.base_url))
        allowance = Allowance(limit=limit, period=Period.TOTAL)
        account = await open_tenant(database, name="acme", policy="default", allowance=allowance)
        clients: list[httpx.AsyncClient] = []
        for _ in range(REPLICAS):
            started = gateway_process(
                config,
                database_url=postgresql.url,
                redis_url=redis.url,
                UPSTREAM_KEY=KEY,
                lease_s=30,
            )
            _, address = await stack.enter_async_context(started)
            client = httpx.AsyncClient(
                base_url=address,
                headers={"Authorization": f"Bearer {account.key}"},
                timeout=120,
                limits=httpx.Limits(max_connections=250),
            )
            clients.append(await stack.enter_async_context(client))
        highest: list[int] = []
        watching = asyncio.create_task(_watch(database, highest))
        answers = await asyncio.gather(
            *(
                clients[number % REPLICAS].post(
                    "/v1/solve", json={"input": PROBLEM, "mode": "single"}
                )
                for number in range(1_000)
            )
        )
        watching.cancel()
        codes = Counter(answer.status_code for answer in answers)
        print(f"\n{dict(codes)}; {len(highest)} samples, up to {max(highest)} of {limit}")  # noqa: T201
        assert codes.keys() <= {200, 402}
        assert codes[200] >= 400
        assert max(highest) <= limit
        assert await _totals(database) == (codes[200] * ACTUAL, 0, codes[200] * ACTUAL)
        assert [one.name for one in await check(database) if not one.holds] == []


async def _watch(database: Database, highest: list[int]) -> None:
    used = select(func.coalesce(func.max(Budget.posted + Budget.reserved), 0))
    while True:
        async with database.read() as tx:
            highest.append((await tx.execute(used)).scalar_one())
        await asyncio.sleep(0.01)
