"""Batches: one cap for all of their lines, run beside what clients wait for, and paid once."""

import asyncio
from decimal import Decimal

import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select, update

from app.accounts import Allowance
from app.db.clock import Clock
from app.db.engine import WriteTx
from app.demo import serving
from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.periods import Period
from app.ledger.postings import tenant_account
from app.ledger.quotas import Unit
from app.ledger.retention import erase_texts
from app.ledger.tables import Entry, Solve
from app.money import from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, by_op, held, reply
from app.tenants.directory import revoke_key
from tests.api.test_limits import limited
from tests.dispatch.batching import ENDED_S, line, lines, output, over, read, send, sent
from tests.gateway import Fathom, Json, exact, fathom, open_account, served, unexpected

COUNT = 60


def _costs(outputs: list[Json]) -> Decimal:
    return sum(
        (
            Decimal(one["response"]["body"]["cost"]["total_usd"])
            for one in outputs
            if one["response"]
        ),
        Decimal(0),
    )


async def _charged(running: Fathom) -> Decimal:
    """What the entries say that the tenant was charged."""
    account = tenant_account(running.account.tenant_id)
    query = select(func.sum(Entry.amount)).where(Entry.account == account)
    async with running.gateway.database.read() as tx:
        return Decimal(int(await tx.scalar(query) or 0)) / 10**9


async def test_batch_answers_every_line_in_the_order_of_its_input(database_url: str) -> None:
    """And its lines' costs are its own, and the ledger's, to the nano-dollar."""

    def answer(request: CompletionRequest) -> Answer:
        words = len(request.problem.encode())
        return reply(request.problem.upper(), input_tokens=7 * words, output_tokens=words)

    async with fathom(database_url, answer) as running:
        batch = await sent(running.client, lines(COUNT))
        assert (batch["object"], batch["status"]) == ("batch", "in_progress")
        assert batch["request_counts"] == {"total": COUNT, "completed": 0, "failed": 0}
        ended = await over(running.client, batch)
        assert ended["status"] == "completed"
        assert ended["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
        outputs = list(await output(running.client, batch))
        assert [one["custom_id"] for one in outputs] == [f"q{n}" for n in range(COUNT)]
        for one in outputs:
            assert one["error"] is None
            assert one["response"]["status_code"] == 200
            solve = one["response"]["body"]
            assert solve["output_text"] == f"WHAT IS {one['custom_id'].upper()}?"
            found = (await running.client.get(solve["links"]["self"])).json()
            assert found == solve
        assert _costs(outputs) == Decimal(ended["budget"]["spent_usd"]) > 0
        assert _costs(outputs) == await _charged(running)
        assert ended["budget"]["held_usd"] == "0.00"
        assert running.provider.max_in_flight <= 8
        assert len(running.provider.requests) == COUNT


async def test_cap_of_a_batch_is_strict_and_wholly_used(database_url: str) -> None:
    """What fits is answered, though holds were in the way; the rest ends `budget-exhausted`."""
    cost = Decimal("0.005")
    async with fathom(database_url, reply("391", input_tokens=0, output_tokens=500)) as running:
        batch = await sent(running.client, lines(COUNT), cap="0.1")
        ended = await over(running.client, batch)
        outputs = list(await output(running.client, batch))
        answered = [one for one in outputs if one["error"] is None]
        refused = [one for one in outputs if one["error"] is not None]
        assert ended["status"] == "completed"
        assert len(outputs) == COUNT
        # A line holds a cent and a little: while so much is left, one more is answered.
        assert len(answered) == 18
        assert _costs(outputs) == Decimal(ended["budget"]["spent_usd"]) == 18 * cost
        assert {one["error"]["code"] for one in refused} == {"budget-exhausted"}
        assert all(one["response"] is None for one in refused)
        assert ended["request_counts"] == {"total": COUNT, "completed": 18, "failed": 42}


async def test_line_waits_while_holds_are_in_its_way(database_url: str) -> None:
    """Two can hold at a time, but all fit: none is refused for company."""
    gate = asyncio.Event()
    answer = held(gate, reply("391", input_tokens=0, output_tokens=500))
    async with fathom(database_url, answer) as running:
        batch = await sent(running.client, lines(4), cap="0.03")
        await running.provider.arrived(2)
        gate.set()
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
        assert ended["budget"]["spent_usd"] == "0.02"


async def test_lines_wait_for_a_limit_of_solves_at_once(database_url: str) -> None:
    """It frees again: none is refused for company, and never do more run at once."""
    async with fathom(database_url, reply("391")) as running:
        await limited(running, Unit.CONCURRENT, 2)
        batch = await sent(running.client, lines(12))
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
        assert running.provider.max_in_flight <= 2


async def test_lines_wait_for_tokens_that_others_hold(database_url: str) -> None:
    """What is held for the worst case is more than is used: all fit into the minute, in turn."""
    gate = asyncio.Event()
    answer = held(gate, reply("391", input_tokens=9, output_tokens=1))
    async with fathom(database_url, answer) as running:
        await limited(running, Unit.TOKENS, 400)
        batch = await sent(running.client, lines(6, max_output_tokens=100))
        await running.provider.arrived(2)
        gate.set()
        ended = await over(running.client, batch)
        outputs = await output(running.client, batch)
        assert [one["error"] for one in outputs if one["error"] is not None] == []
        assert ended["request_counts"] == {"total": 6, "completed": 6, "failed": 0}


@pytest.mark.parametrize(("unit", "most"), [(Unit.CONCURRENT, 0), (Unit.TOKENS, 10)])
async def test_line_that_no_limit_will_ever_admit_is_refused(
    sqlite_url: str, unit: Unit, most: int
) -> None:
    """At once, by the name of the limit, and not when its time is up."""
    async with fathom(sqlite_url, unexpected) as running:
        await limited(running, unit, most)
        batch = await sent(running.client, lines(2))
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
        outputs = await output(running.client, batch)
        assert {one["error"]["code"] for one in outputs} == {"rate-limited"}


async def test_search_of_a_line_waits_below_a_ladder(database_url: str) -> None:
    """For what is held, and may be given back; for what is spent it is refused."""
    gate = asyncio.Event()
    ladder = Allowance(from_usd("1"), Period.DAY, "UTC", single_from=50)
    script = by_op({"gate.first": held(gate, reply("391")), "t*": reply("391")})
    search = exact("391") | {"mode": "search", "search": {"max_nodes": 2, "concurrency": 1}}
    async with fathom(database_url, script, allowance=ladder) as running:
        single = asyncio.create_task(running.solve(mode="single"))
        await running.provider.arrived(1)
        batch = await sent(running.client, [line("q0", **search)])
        async with asyncio.timeout(10.0):
            while not await _has_waited(running):  # noqa: ASYNC110 - for a database
                await asyncio.sleep(0.05)
        gate.set()
        assert (await single).status_code == 200
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


async def _has_waited(running: Fathom) -> bool:
    """Whether a line was taken, and has not become a solve."""
    async with running.gateway.database.read() as tx:
        taken = await tx.scalar(select(BatchLineRow.number).where(BatchLineRow.state == "taken"))
        solves = await tx.scalar(select(func.count()).select_from(Solve))
    return taken is not None and solves == 1


async def test_same_key_is_the_same_batch(database_url: str) -> None:
    """However often it is sent, and at once; with another body or cap it is refused."""
    async with fathom(database_url, reply("391")) as running:
        crowd = await asyncio.gather(
            *(send(running.client, lines(5), key="monday") for _ in range(4))
        )
        assert {response.status_code for response in crowd} == {200}
        assert len({response.json()["id"] for response in crowd}) == 1
        assert sum("Idempotency-Replayed" in response.headers for response in crowd) == 3
        for again in (
            await send(running.client, lines(6), key="monday"),
            await send(running.client, lines(5), key="monday", cap="11"),
        ):
            assert (again.status_code, again.json()["code"]) == (422, "idempotency-key-reused")
        await over(running.client, crowd[0].json())
        assert len(running.provider.requests) == 5


async def test_cancelled_batch_begins_no_more_and_pays_what_ran(database_url: str) -> None:
    """Its calls in flight are cut short; what had not begun says so."""
    gate = asyncio.Event()
    async with fathom(database_url, held(gate, reply("391"))) as running:
        batch = await sent(running.client, lines(20))
        await running.provider.arrived(8)
        cancelled = await running.client.post(f"{batch['links']['self']}/cancel")
        assert cancelled.json()["status"] in {"cancelling", "cancelled"}
        ended = await over(running.client, batch)
        assert ended["status"] == "cancelled"
        assert ended["request_counts"] == {"total": 20, "completed": 0, "failed": 20}
        outputs = await output(running.client, batch)
        assert {one["error"]["code"] for one in outputs if one["response"] is None} == {"cancelled"}
        ran = [one["response"]["body"] for one in outputs if one["response"] is not None]
        assert {solve["status"] for solve in ran} == {"cancelled"}
        assert len(running.provider.requests) <= 16
        again = await running.client.post(f"{batch['links']['self']}/cancel")
        assert again.json()["status"] == "cancelled"


async def test_failed_lines_say_why_and_others_go_on(sqlite_url: str) -> None:
    """A model that refuses one line has no part in the next."""

    def answer(request: CompletionRequest) -> Answer:
        if "q1" in request.problem:
            raise LookupError("a bug")
        return reply("391")

    async with fathom(sqlite_url, answer) as running:
        batch = await sent(running.client, lines(3))
        ended = await over(running.client, batch)
        assert ended["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
        first, second, third = await output(running.client, batch)
        assert first["error"] is third["error"] is None
        assert second["error"]["code"] == "internal"
        assert second["response"]["status_code"] == 500


BAD: list[tuple[Json | str, str]] = [
    ("not json", "line 2"),
    ({"custom_id": "a"}, "line 2: method"),
    (line("q0"), "line 2: custom_id"),
    (line("b") | {"url": "/v1/other"}, "line 2: url"),
    (line("c", budgett={}), "line 2: body.budgett"),
    (line("d", background=True), "line 2: body.background"),
    (line("e", store=False), "line 2: body.store"),
    (line("f", experts=["nobody"]), "line 2"),
    (line("g", mode="search"), "line 2: body.evaluators"),
    (line("h", budget={"max_cost_usd": "0.000001"}), "line 2"),
]


async def test_bad_line_is_named_before_anything_runs(sqlite_url: str) -> None:
    """With its number and its field; nothing of the batch is kept."""
    async with fathom(sqlite_url, unexpected) as running:
        for bad, field in BAD:
            response = await send(running.client, [line("q0"), bad, line("z")])
            assert response.status_code == 422, bad
            assert response.json()["errors"][0]["field"] == field, bad
        many = await send(running.client, ["no"] * 100)
        assert len(many.json()["errors"]) == 20
        assert (await send(running.client, [])).status_code == 422
        assert (await send(running.client, lines(1), cap="0")).status_code == 422
        assert (await send(running.client, lines(1), completion_window="9d")).status_code == 422
        plain = await running.client.post("/v1/batches?max_cost_usd=1", json=line("a"))
        assert plain.status_code == 422  # it has no key
        assert (await running.client.get("/v1/batches")).json()["data"] == []


async def test_batches_are_their_tenants_own(sqlite_url: str) -> None:
    """Listed newest first, a page at a time; another tenant finds none of them."""
    async with fathom(sqlite_url, reply("391")) as running:
        made = [await sent(running.client, lines(1)) for _ in range(3)]
        for batch in made:
            await over(running.client, batch)
        ids = [batch["id"] for batch in reversed(made)]
        first = (await running.client.get("/v1/batches?limit=2")).json()
        assert [one["id"] for one in first["data"]] == ids[:2]
        assert first["has_more"]
        rest = (await running.client.get(f"/v1/batches?after={first['last_id']}")).json()
        assert [one["id"] for one in rest["data"]] == ids[2:]
        assert not rest["has_more"]
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            assert (await client.get("/v1/batches")).json()["data"] == []
            for way in ("", "/output"):
                assert (await client.get(f"/v1/batches/{ids[0]}{way}")).status_code == 404
            assert (await client.post(f"/v1/batches/{ids[0]}/cancel")).status_code == 404


async def test_openai_client_reads_and_cancels_batches(sqlite_url: str) -> None:
    """The official client finds in the batch object what it expects there."""
    async with (
        fathom(sqlite_url, reply("391")) as running,
        serving(running.gateway) as address,
        AsyncOpenAI(api_key=running.account.key, base_url=f"{address}/v1") as openai,
    ):
        batch = await sent(running.client, lines(3))
        await over(running.client, batch)
        found = await openai.batches.retrieve(batch["id"])
        assert (found.status, found.completion_window) == ("completed", "24h")
        counts = found.request_counts
        assert counts is not None
        assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
        assert [one.id async for one in openai.batches.list(limit=1)] == [batch["id"]]
        assert (await openai.batches.cancel(batch["id"])).status == "completed"


async def test_interactive_request_does_not_wait_behind_a_batch(sqlite_url: str) -> None:
    """Though the batch fills all the room that it may have."""
    gate = asyncio.Event()

    async def answer(request: CompletionRequest) -> Answer:
        if request.problem.startswith("What is q"):
            await gate.wait()
        return reply("391")

    async with fathom(sqlite_url, answer, solves_max=3, batch_max=2) as running:
        batch = await sent(running.client, lines(10))
        await running.provider.arrived(2)
        for _ in range(3):
            assert (await running.solve({"mode": "single"})).status_code == 200
        assert (await read(running.client, batch))["request_counts"]["completed"] == 0
        gate.set()
        await over(running.client, batch)
        assert running.provider.max_in_flight <= 3


async def test_batches_of_two_tenants_share_the_room(sqlite_url: str) -> None:
    """The later one does not wait for the end of the earlier."""
    async with fathom(sqlite_url, reply("391"), batch_max=2) as running:
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            long = await sent(running.client, lines(80))
            await running.provider.arrived(4)
            short = await sent(client, lines(8, instructions="other"))
            await over(client, short)
            assert (await read(running.client, long))["status"] == "in_progress"
        await over(running.client, long)


async def test_lines_end_when_their_time_is_up(sqlite_url: str) -> None:
    """What runs then is let to its end; the rest says so."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("391")), batch_max=2) as running:
        batch = await sent(running.client, lines(10))
        await running.provider.arrived(2)

        async def work(tx: WriteTx) -> None:
            await tx.execute(update(BatchRow).values(expires_at=Clock()))

        await running.gateway.database.write(work)
        async with asyncio.timeout(ENDED_S):
            while (await read(running.client, batch))["status"] != "finalizing":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        gate.set()
        ended = await over(running.client, batch)
        assert ended["status"] == "expired"
        assert ended["request_counts"] == {"total": 10, "completed": 2, "failed": 8}
        errors = [one["error"] for one in await output(running.client, batch)]
        assert [error["code"] for error in errors if error is not None] == ["batch-expired"] * 8


async def test_revoked_key_buys_no_more_lines(sqlite_url: str) -> None:
    """Its batches are cancelled."""
    gate = asyncio.Event()
    async with fathom(sqlite_url, held(gate, reply("391")), batch_max=1) as running:
        account = await open_account(running.gateway)
        async with served(running.gateway, account.key) as (_, client):
            batch = await sent(client, lines(10))
        await running.provider.arrived(1)
        await running.gateway.database.write(lambda tx: revoke_key(tx, account.key_id))
        async with asyncio.timeout(ENDED_S):
            while (await _state(running, batch)) != "cancelled":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert len(running.provider.requests) == 1


async def _state(running: Fathom, batch: Json) -> str:
    async with running.gateway.database.read() as tx:
        return str(await tx.scalar(select(BatchRow.state).where(BatchRow.id == batch["id"])))


async def test_texts_of_lines_are_kept_nowhere_but_with_their_solves(sqlite_url: str) -> None:
    """Which are erased like any other's; the output then has everything but the texts."""
    async with fathom(sqlite_url, reply("391")) as running:
        batch = await sent(running.client, lines(2))
        await over(running.client, batch)
        solves = [one["response"]["body"]["id"] for one in await output(running.client, batch)]

        async def work(tx: WriteTx) -> None:
            assert (await tx.scalars(select(BatchLineRow.request))).all() == [None, None]
            await erase_texts(tx, solves)

        await running.gateway.database.write(work)
        for one in await output(running.client, batch):
            assert one["response"]["body"]["output_text"] is None
            assert one["response"]["body"]["cost"]["total_usd"] == "0.00006"
