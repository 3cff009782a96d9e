"""The learned gate in requests: what it tells, what teaches it, whom, and that it fails nobody."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from app.catalogue import read_weights
from app.ids import SolveId, TenantId, uuid7
from app.learning.lesson import Lesson
from app.providers.scripted import Answer, Script, by_op, reply
from app.settings import GateConfig, GatewayConfig, Settings
from app.wiring import open_gateway
from tests.gateway import Fathom, Json, exact, fathom, open_account, scripted_config, served

RIGHT: Final = reply("The sum is 17 * 23 = 391.\n391")
ANSWERS: Final = by_op(
    {"gate.first": reply("7"), "gate.second": reply("8"), "strong": reply("391")}
)
UNCHECKED: Final = {"value_usd": "0"}
"""An error costs nothing, so nothing is bought that would teach the gate while it is looked at."""

SUMS: Json = {"metadata": {"category": "sums"}}


def learned(weights: str = GateConfig().weights, **policy: Any) -> GatewayConfig:  # noqa: ANN401 - the file's
    """The scripted experts, decided about by weights."""
    return scripted_config(**policy).model_copy(update={"gate": GateConfig(weights=weights)})


@asynccontextmanager
async def gateway(url: str, script: Answer | Script, **policy: Any) -> AsyncGenerator[Fathom]:  # noqa: ANN401 - the file's
    """A gateway with the weights that are shipped."""
    async with fathom(url, script, config=learned(**policy)) as running:
        yield running


async def _tell(running: Fathom, solve: Json, **body: Any) -> Json:  # noqa: ANN401 - JSON
    response = await running.client.post(f"{solve['links']['self']}/feedback", json=body)
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


def _decided(solve: Json) -> tuple[str, str]:
    return solve["decision"]["route"], solve["decision"]["reason"]


async def _chance(running: Fathom, **more: Any) -> float:  # noqa: ANN401 - JSON
    """What the gate thinks of the first answer to a problem of sums."""
    solve = await running.solved(SUMS | more)
    chance: float = solve["decision"]["p_single"]
    return chance


async def test_decision_is_explained(sqlite_url: str) -> None:
    """By chances, by what it gains, by the weights' version, and in words."""
    async with gateway(sqlite_url, ANSWERS) as running:
        decision = (await running.solved())["decision"]
        assert (decision["route"], decision["reason"]) == ("strong", "expected_gain")
        assert 0 < decision["p_single"] < 1
        assert 0 < decision["p_alternative"] < 1
        assert float(decision["expected_gain_usd"]) > 0
        assert decision["gate_version"].startswith("g")
        assert decision["certificate"] == {"kind": "uncertified", "valid": False}
        assert decision["propensity"] == 1.0
        assert "expected to gain more than it costs" in decision["top_reasons"][0]


async def test_price_of_an_error_decides(sqlite_url: str) -> None:
    """What nobody would pay for is not bought; what is dear to get wrong is."""
    async with gateway(sqlite_url, ANSWERS) as running:
        asked: list[tuple[str, list[str]]] = []
        for value in ("0", "0.001", "10"):
            before = len(running.ops())
            solve = await running.solved({"gate": {"value_usd": value}})
            asked.append((solve["decision"]["route"], running.ops()[before:]))
        assert asked[0] == ("single", ["gate.first"])
        assert asked[-1][0] == "strong"


async def test_verifier_outranks_what_was_learned(sqlite_url: str) -> None:
    """A reached target is accepted; a missed one searched for, unless that costs too much."""
    async with gateway(sqlite_url, by_op({"gate.first": reply("7"), "*": reply("391")})) as running:
        found = await running.solved(exact("391"))
        assert _decided(found) == ("search", "below_target")
        found = await running.solved(exact("7"))
        assert _decided(found) == ("single", "verified")
        found = await running.solved(exact("391") | {"gate": {"value_usd": "0.000001"}})
        assert _decided(found) == ("single", "hopeless")


async def test_gate_that_fails_fails_no_request(sqlite_url: str, tmp_path: Path) -> None:
    """The untrained rule decides, and it says so; the replay does the same."""
    document = read_weights(GateConfig())
    assert document is not None
    broken = {**document, "version": "broken", "spread": [0.0] * len(document["spread"])}
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(broken), "utf-8")
    async with fathom(sqlite_url, ANSWERS, config=learned(str(file))) as running:
        solve = await running.solved()
        assert solve["status"] == "completed"
        assert solve["decision"]["gate_version"] == "day0"
        assert "untrained rule" in " ".join(solve["decision"]["top_reasons"])
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.json()["decision"] == solve["decision"]


@pytest.mark.parametrize("pooled", [False, True])
async def test_labels_of_one_tenant_move_another_only_where_they_are_pooled(
    sqlite_url: str, *, pooled: bool
) -> None:
    """Its own decisions change either way."""
    async with gateway(sqlite_url, RIGHT, pool_labels=pooled, **UNCHECKED) as running:
        other = await open_account(running.gateway)
        async with served(running.gateway, other.key) as (_, client):
            theirs = replace(running, client=client)
            before, before_theirs = await _chance(running), await _chance(theirs)
            assert before == before_theirs
            for _ in range(12):
                await _tell(running, await running.solved(SUMS), correct=False)
            assert await _chance(running) < before - 0.02
            after_theirs = await _chance(theirs)
            assert (after_theirs == before_theirs) is not pooled


async def test_feedback_changes_the_decision(sqlite_url: str) -> None:
    """From accepting the answer to asking the strong expert."""
    async with gateway(sqlite_url, RIGHT, value_usd="0.0002") as running:
        ours = SUMS | {"gate": {"second_opinion": "never"}}
        solve = await running.solved(ours)
        assert solve["decision"]["route"] == "single"
        told = 0
        while solve["decision"]["route"] == "single" and told < 60:
            await _tell(running, solve, correct=False)
            solve, told = await running.solved(ours), told + 1
        assert solve["decision"]["route"] == "strong"


async def test_feedback_is_taken_once_and_may_be_changed(sqlite_url: str) -> None:
    """Said again it teaches nothing more; taken back, it was never said."""
    async with gateway(sqlite_url, RIGHT, **UNCHECKED) as running:
        labelled = await running.solved(SUMS)
        assert await _tell(running, labelled, correct=True) == {
            "solve_id": labelled["id"],
            "correct": True,
            "score": None,
        }
        right = await _chance(running)
        await _tell(running, labelled, correct=True)
        assert await _chance(running) == right
        await _tell(running, labelled, score=0.0)
        assert await _chance(running) < right
        await _tell(running, labelled, correct=True)
        assert await _chance(running) == right


async def test_feedback_without_a_word_is_refused(sqlite_url: str) -> None:
    """An empty body, a score beyond 1, and a solve that is not there."""
    async with gateway(sqlite_url, RIGHT) as running:
        solve = await running.solved()
        path = f"{solve['links']['self']}/feedback"
        for body in ({}, {"score": 2}, {"correct": True, "note": "x"}):
            assert (await running.client.post(path, json=body)).status_code == 422
        missing = await running.client.post("/v1/solves/slv_none/feedback", json={"correct": True})
        assert missing.status_code == 404


async def test_replay_decides_as_it_was_decided(sqlite_url: str) -> None:
    """Whatever was learned since; another process, too, that never saw the weights before."""
    async with gateway(sqlite_url, ANSWERS) as running:
        solve = await running.solved(SUMS)
        for _ in range(8):
            await _tell(running, await running.solved(SUMS), correct=False)
        assert await _chance(running) != solve["decision"]["p_single"]
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200, again.text
        assert again.json()["decision"] == solve["decision"]
    async with (
        fathom(sqlite_url, ANSWERS, config=learned()) as later,
        served(later.gateway, running.account.key) as (_, client),
    ):
        again = await client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200, again.text
        assert again.json()["decision"] == solve["decision"]


async def test_what_was_learned_is_known_after_a_restart_and_elsewhere(database_url: str) -> None:
    """To the same chances; a replica that runs beside reads it."""
    async with gateway(database_url, RIGHT, **UNCHECKED) as running:
        settings = Settings(database_url=database_url)
        providers = {"scripted": running.provider}
        async with open_gateway(settings, learned(**UNCHECKED), providers=providers) as beside:
            for _ in range(3):
                await _tell(running, await running.solved(SUMS), correct=False)
            moved = await _chance(running)
            await running.gateway.learner.refresh()
            await beside.learner.refresh()
            async with served(beside, running.account.key) as (app, client):
                assert await _chance(replace(running, app=app, client=client)) == moved
    async with (
        fathom(database_url, RIGHT, config=learned(**UNCHECKED)) as later,
        served(later.gateway, running.account.key) as (app, client),
    ):
        assert await _chance(replace(later, app=app, client=client)) == moved


async def test_cheap_call_that_is_never_right_is_skipped(sqlite_url: str) -> None:
    """Once a tenant's own labels leave no doubt; a few requests still make it, and say how few."""
    async with gateway(sqlite_url, ANSWERS) as running:
        for _ in range(120):
            running.gateway.learner.learn(_hopeless(running.account.tenant_id))
        openings: dict[str, Json] = {}
        for seed in range(60):
            before = len(running.ops())
            solve = await running.solved(SUMS | {"seed": seed})
            openings[running.ops()[before]] = solve
        assert set(openings) == {"strong", "gate.first"}
        skipped = openings["strong"]
        assert skipped["decision"]["reason"] == "cheap_hopeless"
        assert skipped["decision"]["propensity"] == 0.95
        assert openings["gate.first"]["decision"]["propensity"] == 0.05
        again = await running.client.post("/v1/solve", json={"replay_of": skipped["id"]})
        assert again.json()["decision"] == skipped["decision"]


def _hopeless(tenant_id: TenantId) -> Lesson:
    return Lesson(
        solve_id=SolveId(f"slv_{uuid7().hex}"),
        tenant_id=tenant_id,
        pair="cheap>strong",
        category="sums",
        pooled=True,
        version="test",
        propensity=1.0,
        route="strong",
        answered="strong",
        same=False,
        agreed=None,
        features=None,
        source="verifier",
        cheap=0.0,
        strong=1.0,
    )
