"""Replayed solves, scored as the data scores them."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.settings import GatewayConfig, Settings
from app.wiring import Gateway, open_gateway
from tests.gateway import Json, assert_balanced, fathom, open_account, served, unexpected

RECORDED: Final[Json] = {"evaluators": [{"type": "recorded"}]}
SCORES: Final = {"right": 1.0, "half": 0.5, "wrong": 0.0, "unscored": None}


def _recordings(folder: Path) -> Path:
    """Problems named for what every sample of a model says of them."""
    rows = [
        {
            "problem": problem,
            "model": model,
            "samples": [
                {"text": text, "input_tokens": 10, "output_tokens": 5, "score": SCORES[text]}
            ],
        }
        for problem, texts in {
            "easy": ("right", "right"),
            "hard": ("wrong", "right"),
            "graded": ("half", "wrong"),
            "unjudged": ("unscored", "unscored"),
            "partly": ("unscored", "right"),
        }.items()
        for model, text in zip(("cheap", "strong"), texts, strict=True)
    ]
    path = folder / "recordings.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _config(folder: Path) -> GatewayConfig:
    expert = {"max_output_tokens": 50, "input_usd_per_mtok": "1", "output_usd_per_mtok": "10"}
    live = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    return GatewayConfig.model_validate(
        {
            "providers": {
                "recorded": {"kind": "replay", "recordings": str(_recordings(folder))},
                "live": live,
            },
            "experts": {
                "cheap": expert | {"provider": "recorded", "model": "cheap"},
                "strong": expert | {"provider": "recorded", "model": "strong"},
                "live": expert | {"provider": "live", "model": "live"},
            },
            "policies": {
                "default": {
                    "default_expert": "cheap",
                    "strong_expert": "strong",
                    "search_experts": ["cheap", "strong", "live"],
                }
            },
        }
    )


@asynccontextmanager
async def _gateway(url: str, folder: Path) -> AsyncGenerator[tuple[Gateway, httpx.AsyncClient]]:
    async with open_gateway(Settings(database_url=url), _config(folder)) as gateway:
        account = await open_account(gateway)
        async with served(gateway, account.key) as (_, client):
            yield gateway, client
        await assert_balanced(gateway)


def _body(problem: str, mode: str, **more: object) -> Json:
    return {
        "input": problem,
        "mode": mode,
        "experts": ["cheap", "strong"],
        "seed": 1,
        "search": {"max_nodes": 6, "patience": 6},
        **RECORDED,
        **more,
    }


@pytest.mark.parametrize(
    ("problem", "mode", "text", "score"),
    [
        ("easy", "single", "right", 1.0),
        ("graded", "single", "half", 0.5),
        ("easy", "auto", "right", 1.0),
        ("hard", "auto", "right", 1.0),
        ("hard", "search", "right", 1.0),
        ("graded", "search", "half", 0.5),
        ("hard", "parallel", "right", 1.0),
        ("graded", "parallel", "half", 0.5),
        ("partly", "parallel", "right", 1.0),
    ],
)
async def test_solve_is_scored_as_the_data_scores_it(
    database_url: str, tmp_path: Path, *, problem: str, mode: str, text: str, score: float
) -> None:
    """Whatever its route; and so is its replay."""
    async with _gateway(database_url, tmp_path) as (_, client):
        solve = (await client.post("/v1/solve", json=_body(problem, mode))).json()
        assert (solve["output_text"], solve["evaluation"]["score"]) == (text, score)
        assert solve["evaluation"]["passed"] == (score == 1.0)
        again = await client.post("/v1/solve", json={"replay_of": solve["id"]})
        assert again.status_code == 200, again.text
        assert again.json()["evaluation"]["score"] == score


async def test_answer_that_was_recorded_without_a_score_has_none(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Null with an error."""
    async with _gateway(sqlite_url, tmp_path) as (_, client):
        for mode in ("single", "parallel"):
            solve = (await client.post("/v1/solve", json=_body("unjudged", mode))).json()
            assert solve["output_text"] == "unscored"
            assert (solve["evaluation"]["score"], solve["evaluation"]["passed"]) == (None, None)
            (item,) = solve["evaluation"]["items"]
            assert (item["id"], item["score"]) == ("recorded", None)
            assert item["error"] == "no score was recorded for this answer"
            assert solve["confidence"] is None


async def test_passes_choose_among_the_drafts_and_keep_their_scores(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Also where the draft is another model's."""
    async with _gateway(sqlite_url, tmp_path) as (_, client):
        body = _body("graded", "parallel", parallel={"k": 3, "passes": 1, "adaptive": False})
        solve = (await client.post("/v1/solve", json=body)).json()
        nodes = (await client.get(solve["links"]["tree"])).json()["nodes"]
        assert {node["text"]: node["score"] for node in nodes} == {"half": 0.5, "wrong": 0.0}
        assert {(node["text"], node["score"]) for node in nodes[3:]} == {("half", 0.5)}
        assert {node["expert"] for node in nodes[3:]} == {"cheap", "strong"}


@pytest.mark.parametrize(
    ("mode", "experts", "status"),
    [
        ("single", None, 200),
        ("single", ["live"], 422),
        ("search", None, 422),
        ("parallel", None, 422),
        ("auto", None, 422),
        ("auto", ["cheap", "strong"], 200),
    ],
)
async def test_experts_that_answer_anew_cannot_be_scored_by_it(
    sqlite_url: str, tmp_path: Path, mode: str, experts: list[str] | None, status: int
) -> None:
    """Before anything is held, by name; the estimate refuses the same."""
    async with _gateway(sqlite_url, tmp_path) as (_, client):
        body = _body("easy", mode, experts=experts)
        for path in ("/v1/solve/estimate", "/v1/solve"):
            response = await client.post(path, json=body)
            assert response.status_code == status, response.text
            if status == 422:
                problem = response.json()
                assert problem["code"] == "validation"
                assert "evaluators.0.type" in response.text
                assert "'live'" in problem["detail"]


async def test_provider_that_stands_in_for_a_recorded_one_is_none(sqlite_url: str) -> None:
    """It is what answers that counts, and not what the file calls it."""
    async with fathom(sqlite_url, unexpected) as running:
        refused = await running.solve(RECORDED, mode="single")
        assert (refused.status_code, refused.json()["code"]) == (422, "validation")


async def test_search_goes_on_in_another_process_by_the_same_scores(
    sqlite_url: str, tmp_path: Path
) -> None:
    """A tree taken over is scored again from the same data."""
    async with _gateway(sqlite_url, tmp_path) as (_, client):
        body = _body("graded", "search", search={"max_nodes": 2, "patience": 6})
        solve = (await client.post("/v1/solve", json=body)).json()
        resumed = await client.post(
            f"{solve['links']['self']}/resume", json={"budget": {}, "search": {"max_nodes": 4}}
        )
        assert resumed.status_code == 200, resumed.text
        assert resumed.json()["evaluation"]["score"] == 0.5
        assert resumed.json()["search"]["nodes"] == 4
