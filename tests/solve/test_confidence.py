"""What becomes of an answer that is not sure enough, and which answer is returned in the end."""

from typing import Final

import pytest

from app.learning import book
from app.money import from_usd
from app.providers.scripted import by_op, reply
from tests.gateway import Json, exact, fathom
from tests.solve.test_learning import ANSWERS, RIGHT, gateway, learned

CHEAP: Final[Json] = {"value_usd": "0", "second_opinion": "never"}
"""An error costs nothing, so the first answer is returned, however unsure."""


def _gate(**more: str | float) -> Json:
    return {"gate": CHEAP | more}


async def test_low_confidence_is_flagged(sqlite_url: str) -> None:
    """True below the policy's least, false above, null where nobody asked or nothing tells."""
    async with gateway(sqlite_url, RIGHT, confidence_min=0.99) as running:
        flagged = await running.solved(_gate(on_low_confidence="flag"))
        assert flagged["status"] == "completed"
        assert flagged["confidence"] < 0.99
        assert flagged["low_confidence"] is True
        assert (await running.solved(_gate()))["low_confidence"] is None
        sure = await running.solved(exact("391") | {"gate": {"on_low_confidence": "flag"}})
        assert (sure["confidence"], sure["low_confidence"]) == (1.0, False)
        forced = await running.solved(_gate(on_low_confidence="flag") | {"mode": "single"})
        assert (forced["confidence"], forced["low_confidence"]) == (None, None)


async def test_low_confidence_fails_who_wants_it_to(sqlite_url: str) -> None:
    """As a problem, never a 2xx with an error in it: without the answer, and at its price."""
    async with gateway(sqlite_url, RIGHT, confidence_min=0.99) as running:
        response = await running.solve(_gate(on_low_confidence="fail"))
        assert response.status_code == 424, response.text
        problem = response.json()
        assert problem["code"] == "low-confidence"
        assert "below 0.99" in problem["detail"]
        assert float(problem["spent_usd"]) > 0
        kept = (await running.client.get(f"/v1/solves/{problem['solve_id']}")).json()
        assert (kept["status"], kept["output_text"]) == ("failed", None)
        assert kept["cost"]["total_usd"] == problem["spent_usd"]


async def test_missed_verifier_is_of_low_confidence(sqlite_url: str) -> None:
    """A decisive evaluator has settled it; that it failed still teaches the gate."""
    async with gateway(sqlite_url, reply("7")) as running:
        asked = exact("391") | {"gate": {"value_usd": "0.000001", "on_low_confidence": "fail"}}
        response = await running.solve(asked)
        assert response.json()["code"] == "low-confidence"
        await running.gateway.learner.flush()
        async with running.gateway.database.read() as tx:
            lessons = await book.newest(tx, most=9)
        assert [lesson.labels["cheap"] for lesson in lessons] == [0.0]


async def test_risk_target_buys_what_value_would_not(sqlite_url: str) -> None:
    """And is the least confidence, too, where it is the stricter bound."""
    async with gateway(sqlite_url, ANSWERS) as running:
        assert (await running.solved(_gate()))["decision"]["route"] == "single"
        narrowed = await running.solved(_gate(risk_target=0.001, on_low_confidence="flag"))
        made = narrowed["decision"]
        assert (made["route"], made["reason"]) == ("strong", "risk_target")
        assert narrowed["low_confidence"] is True


async def test_answers_of_all_arms_are_weighed(sqlite_url: str) -> None:
    """What the strong arm repeats is surer than what it says alone; a replay agrees."""
    script = by_op({"gate.first": reply("7"), "gate.second": reply("391"), "strong": reply("391")})
    always = {"gate": {"value_usd": "10", "second_opinion": "always"}}
    async with gateway(sqlite_url, script) as running:
        solve = await running.solved(always)
        assert solve["decision"]["route"] == "strong"
        assert (solve["output_text"], solve["lineage"]["op"]) == ("391", "gate.second")
        alone = await running.solved({"gate": {"value_usd": "10", "second_opinion": "never"}})
        assert alone["decision"]["route"] == "strong"
        again = await running.client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200, again.text
        assert again.json()["confidence"] == solve["confidence"] > alone["confidence"]


@pytest.mark.parametrize("target", [0, 1, -0.1, "much"])
async def test_risk_target_is_a_chance(sqlite_url: str, target: object) -> None:
    """Neither certain nor impossible."""
    async with fathom(sqlite_url, RIGHT, config=learned()) as running:
        response = await running.solve({"gate": {"risk_target": target}})
        assert response.status_code == 422


async def test_estimate_foresees_the_opinion_that_is_bought(sqlite_url: str) -> None:
    """None where an error costs nothing, one where it is always wanted."""
    async with gateway(sqlite_url, RIGHT) as running:
        expected: list[str] = []
        for asked in ({"value_usd": "0"}, {"second_opinion": "always"}):
            body = {"input": "What is 17 * 23?", "gate": asked}
            read = await running.client.post("/v1/solve/estimate", json=body)
            expected.append(read.json()["routes"]["single"]["expected_usd"])
        assert from_usd(expected[0]) < from_usd(expected[1])
