"""Audits in requests: who is audited, who pays, who sees what, and what is certified by them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import RowMapping, select

from app.accounts import Allowance, open_tenant
from app.learning.tables import GateAudit, GateExample
from app.ledger.periods import Period
from app.ledger.tables import Solve
from app.money import from_usd
from app.providers.completion import CompletionRequest
from app.providers.scripted import Answer, Script, ScriptedProvider, reply
from app.settings import GateConfig, Settings
from app.wiring import open_gateway
from tests.gateway import (
    PLENTY,
    Fathom,
    Json,
    assert_balanced,
    fathom,
    open_account,
    scripted_config,
    served,
)

PAYER: Final = "operator"
UNCERTIFIED: Final = {"kind": "uncertified", "valid": False}
SUMS: Final[Json] = {"metadata": {"category": "sums"}}
DEADLINE_S: Final = 30.0


def agreeing(_request: CompletionRequest) -> Answer:
    """Every expert says the same."""
    return reply("391")


@asynccontextmanager
async def audited(
    url: str,
    script: Script = agreeing,
    *,
    allowance: Allowance = PLENTY,
    payer: str | None = PAYER,
    **policy: Any,  # noqa: ANN401 - the file's
) -> AsyncGenerator[Fathom]:
    """A gateway that accepts every answer, for an error costs nothing, and audits each."""
    asked = {"value_usd": "0", "audit_share": 1.0} | policy
    config = scripted_config(**asked).model_copy(update={"gate": GateConfig(audit_tenant=payer)})
    async with fathom(url, script, config=config) as running:
        await open_tenant(
            running.gateway.database, name=PAYER, policy="default", allowance=allowance
        )
        yield running


async def rows(running: Fathom, *, count: int) -> Sequence[RowMapping]:
    """The audits, once there are so many."""
    query = select(*GateAudit.__table__.columns).order_by(GateAudit.audited_at)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with running.gateway.database.read() as tx:
                found = (await tx.execute(query)).mappings().all()
            if len(found) >= count:
                await read_again(running)
                return found
            await asyncio.sleep(0.01)


async def read_again(running: Fathom) -> None:
    """Let the certificates know of all that is written."""
    auditing = running.gateway.services.solver.learned.auditing
    assert auditing is not None
    await auditing.audits.refresh()


async def settled(running: Fathom, outcome: str, *, count: int = 1) -> None:
    """Wait until so many audits came to this."""
    said = f'fathom_gate_audits_total{{outcome="{outcome}"}} {float(count)}'
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if said in running.gateway.services.metrics.render().decode():
                return
            await asyncio.sleep(0.01)


async def tell(running: Fathom, solve: Json, *, correct: bool) -> None:
    """What the caller found out."""
    response = await running.client.post(
        f"{solve['links']['self']}/feedback", json={"correct": correct}
    )
    assert response.status_code == 200, response.text


async def replayed(running: Fathom, solve: Json) -> Json:
    """The decision, made again."""
    again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
    decision: Json = again.raise_for_status().json()["decision"]
    return decision


async def test_accepted_answer_is_audited_on_the_operators_budget(database_url: str) -> None:
    """In a solve of its own, by the strong expert, linked, and with no text that is kept."""
    async with audited(database_url) as running:
        solve = await running.solved(SUMS)
        (row,) = await rows(running, count=1)
        assert row["solve_id"] == solve["id"]
        assert (row["category"], row["pair"], row["propensity"]) == ("sums", "cheap>strong", 1.0)
        assert (row["same"], row["verified_at"], row["cheap"]) == (True, None, None)
        assert [one.model for one in running.provider.requests] == ["cheap", "strong"]
        async with running.gateway.database.read() as tx:
            paid = select(Solve.tenant_id, Solve.posted).where(Solve.id == row["audit_id"])
            audit = (await tx.execute(paid)).one()
            taught = select(GateExample.source, GateExample.cheap, GateExample.strong)
            lesson = (await tx.execute(taught)).one()
        assert audit.tenant_id != running.account.tenant_id
        assert audit.posted == row["cost"] > 0
        assert tuple(lesson) == ("audit", 0.9, 0.9)
        theirs = await running.client.get(f"/v1/solves/{row['audit_id']}")
        assert theirs.status_code == 404
        kept = await running.gateway.records.texts(row["audit_id"])
        assert kept == {}


async def test_nothing_is_audited_that_must_not_be(sqlite_url: str) -> None:
    """What is not stored, what its caller chose, and what an evaluator found right."""
    async with audited(sqlite_url) as running:
        right = {"evaluators": [{"type": "exact", "config": {"expected": "391"}}]}
        for body in ({"store": False}, {"mode": "single"}, right):
            await running.solved(body)
        await running.solved()
        await rows(running, count=1)
        assert [one.model for one in running.provider.requests].count("strong") == 1


@pytest.mark.parametrize("policy", [{"audit_share": 0.0}, {"payer": None}])
async def test_audits_are_off_unless_policy_and_operator_want_them(
    sqlite_url: str, policy: dict[str, Any]
) -> None:
    """By the policy, and where no tenant of the operator's is named."""
    async with audited(sqlite_url, **policy) as running:
        await running.solved()
        auditing = running.gateway.services.solver.learned.auditing
        assert auditing is not None
        assert auditing.waiting == 0
        assert len(running.provider.requests) == 1


async def test_operator_without_budget_audits_nothing(sqlite_url: str) -> None:
    """It is counted, and the request is answered all the same."""
    nothing = Allowance(limit=from_usd("0"), period=Period.TOTAL)
    async with audited(sqlite_url, allowance=nothing) as running:
        solve = await running.solved()
        assert solve["status"] == "completed"
        await settled(running, "refused")
        assert len(running.provider.requests) == 1


async def test_verified_audits_certify_and_a_shift_takes_it_away(database_url: str) -> None:
    """At the first look and not before; what was decided before is replayed as it was."""
    shifted = asyncio.Event()

    def script(request: CompletionRequest) -> Answer:
        return reply("7" if shifted.is_set() and request.model == "cheap" else "391")

    async with audited(database_url, script, risk_epsilon=0.3, risk_delta=0.3) as running:
        solves: list[Json] = []
        for count in range(1, 15):
            solves.append(await running.solved(SUMS))
            is_certified = solves[-1]["decision"]["certificate"] != UNCERTIFIED
            assert is_certified is (count > 7)
            await rows(running, count=count)
            await tell(running, solves[-1], correct=True)
            await read_again(running)
        certified = await running.solved(SUMS)
        stands = {"kind": "regret", "epsilon": 0.3, "delta": 0.3, "n": 14, "valid": True}
        assert certified["decision"]["certificate"] == stands | {"scope": "tenant"}
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            theirs = await replace(running, client=client).solved(SUMS)
        assert theirs["decision"]["certificate"] == stands | {"scope": "category"}
        audits = 16
        falls = certified
        while falls["decision"]["certificate"] != UNCERTIFIED and audits < 60:
            await rows(running, count=audits)
            await tell(running, falls, correct=False)
            await read_again(running)
            shifted.set()
            falls, audits = await running.solved(SUMS), audits + 1
        assert falls["decision"]["certificate"] == UNCERTIFIED
        rendered = running.gateway.services.metrics.render().decode()
        assert "fathom_gate_drift_alarms 2.0" in rendered  # of the tenant, and of its category
        assert 'fathom_gate_certificates{scope="tenant"} 0.0' in rendered
        for solve in (solves[0], solves[-1], certified, falls):
            assert await replayed(running, solve) == solve["decision"]
        await rows(running, count=audits)


async def test_audit_that_is_cut_short_by_the_end_is_settled(sqlite_url: str) -> None:
    """The operator pays for no more than was asked, and nothing stays held."""
    asked, never = asyncio.Event(), asyncio.Event()

    async def script(request: CompletionRequest) -> Answer:
        if request.model == "strong":
            asked.set()
            await never.wait()
        return reply("391")

    config = scripted_config(value_usd="0", audit_share=1.0)
    config = config.model_copy(update={"gate": GateConfig(audit_tenant=PAYER)})
    async with open_gateway(
        Settings(database_url=sqlite_url), config, providers={"scripted": ScriptedProvider(script)}
    ) as gateway:
        await open_tenant(gateway.database, name=PAYER, policy="default", allowance=PLENTY)
        account = await open_account(gateway)
        async with served(gateway, account.key) as (_, client):
            body = {"input": "What is 17 * 23?", "seed": 1}
            (await client.post("/v1/solve", json=body)).raise_for_status()
            async with asyncio.timeout(DEADLINE_S):
                await asked.wait()
    async with open_gateway(
        Settings(database_url=sqlite_url),
        config,
        providers={"scripted": ScriptedProvider(agreeing)},
    ) as again:
        await assert_balanced(again)
