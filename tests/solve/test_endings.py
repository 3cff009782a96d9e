"""How a solve ends: by the gate, by a search, or by the failures of its providers."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from app.providers.completion import (
    CompletionRequest,
    FinishReason,
    ProviderRefused,
    ProviderUnavailable,
)
from app.providers.scripted import Answer, Script, by_op, in_turn, reply
from tests.backends import Backends
from tests.gateway import Fathom, Json, copied, exact, fathom

REFUSED = ProviderRefused("not with these words", may_have_worked=False)
OVERLOADED = ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=0)
CUT = reply("39", finish_reason=FinishReason.LENGTH)
EMPTY = reply("")
RIGHT = exact("391")
NO_OPINION: Json = {"gate": {"second_opinion": "never"}}
ONE_WORKER: Json = {"search": {"concurrency": 1, "max_nodes": 4, "patience": 4}}
ANY_JSON: Json = {
    "evaluators": [{"type": "json_schema", "config": {"schema": {"type": "integer"}}}]
}


@dataclass(frozen=True)
class Ending:
    """A request, what the models say, and what its caller must be told."""

    name: str
    body: Json
    answers: Mapping[str, Answer | Callable[[], Script]]
    ops: list[str]
    text: str
    route: str
    reason: str
    status: str = "completed"
    stop: str = "single"
    incomplete: str | None = None
    confidence: float | None = None
    opinion: Json = field(default_factory=lambda: {"bought": False, "agree": None})


TWO = ["gate.first", "gate.second"]
BOUGHT_DISAGREES: Json = {"bought": True, "agree": False}

ENDINGS = [
    Ending(
        name="one forced call stands, whatever it says",
        body={"mode": "single"},
        answers={"gate.first": reply("7")},
        ops=["gate.first"],
        text="7",
        route="single",
        reason="forced",
    ),
    Ending(
        name="one forced call stands even when its score is low",
        body={"mode": "single", **RIGHT},
        answers={"gate.first": reply("7")},
        ops=["gate.first"],
        text="7",
        route="single",
        reason="forced",
        confidence=0.0,
    ),
    Ending(
        name="a forced call that is cut short is incomplete",
        body={"mode": "single"},
        answers={"gate.first": CUT},
        ops=["gate.first"],
        text="39",
        route="single",
        reason="forced",
        status="incomplete",
        incomplete="max_output_tokens",
    ),
    Ending(
        name="nothing can check the answer and no opinion is wanted",
        body=NO_OPINION,
        answers={"gate.first": reply("7")},
        ops=["gate.first"],
        text="7",
        route="single",
        reason="unchecked",
    ),
    Ending(
        name="a worthless answer is not worth an opinion",
        body={"gate": {"value_usd": "0"}},
        answers={"gate.first": reply("7")},
        ops=["gate.first"],
        text="7",
        route="single",
        reason="not_worth_it",
    ),
    Ending(
        name="an opinion is bought whatever it is worth where it is always wanted",
        body={"gate": {"value_usd": "0", "second_opinion": "always"}},
        answers={"gate.*": reply("7")},
        ops=TWO,
        text="7",
        route="single",
        reason="agreement",
        opinion={"bought": True, "agree": True},
    ),
    Ending(
        name="a verified first answer stands without an opinion",
        body={**RIGHT, "gate": {"second_opinion": "always"}},
        answers={"gate.first": reply("17 * 23 =\n391")},
        ops=["gate.first"],
        text="17 * 23 =\n391",
        route="single",
        reason="verified",
        confidence=1.0,
    ),
    Ending(
        name="two spellings of one answer agree",
        body={},
        answers={"gate.first": reply("The answer is:\n1,000"), "gate.second": reply("1e3")},
        ops=TWO,
        text="The answer is:\n1,000",
        route="single",
        reason="agreement",
        opinion={"bought": True, "agree": True},
    ),
    Ending(
        name="disagreement asks the strong expert, whose side wins",
        body={},
        answers={"gate.first": reply("7"), "gate.second": reply("8"), "strong": reply("so:\n8")},
        ops=[*TWO, "strong"],
        text="8",
        route="strong",
        reason="disagreement",
        opinion=BOUGHT_DISAGREES,
    ),
    Ending(
        name="the strong answer may confirm the first",
        body={},
        answers={"gate.first": reply("7"), "gate.second": reply("8"), "strong": reply("7")},
        ops=[*TWO, "strong"],
        text="7",
        route="strong",
        reason="disagreement",
        opinion=BOUGHT_DISAGREES,
    ),
    Ending(
        name="where all three differ the strong answer stands",
        body={},
        answers={"gate.first": reply("7"), "gate.second": reply("8"), "strong": reply("9")},
        ops=[*TWO, "strong"],
        text="9",
        route="strong",
        reason="disagreement",
        opinion=BOUGHT_DISAGREES,
    ),
    Ending(
        name="an unreadable strong answer does not replace a readable one",
        body={},
        answers={"gate.first": reply("7"), "gate.second": reply("8"), "strong": EMPTY},
        ops=[*TWO, "strong"],
        text="7",
        route="strong",
        reason="disagreement",
        opinion=BOUGHT_DISAGREES,
    ),
    Ending(
        name="an opinion that never came leaves the strong expert to decide",
        body={},
        answers={"gate.first": reply("7"), "gate.second": REFUSED, "strong": reply("7")},
        ops=[*TWO, "strong"],
        text="7",
        route="strong",
        reason="no_opinion",
    ),
    Ending(
        name="a first answer that is cut short asks the strong expert",
        body={},
        answers={"gate.first": CUT, "strong": reply("391")},
        ops=["gate.first", "strong"],
        text="391",
        route="strong",
        reason="invalid_format",
    ),
    Ending(
        name="an empty first answer asks the strong expert",
        body={},
        answers={"gate.first": EMPTY, "strong": reply("391")},
        ops=["gate.first", "strong"],
        text="391",
        route="strong",
        reason="invalid_format",
    ),
    Ending(
        name="a refused first call asks the strong expert",
        body={},
        answers={"gate.first": REFUSED, "strong": reply("391")},
        ops=["gate.first", "strong"],
        text="391",
        route="strong",
        reason="no_answer",
    ),
    Ending(
        name="a first call that nobody takes asks the strong expert after three attempts",
        body={},
        answers={"gate.first": OVERLOADED, "strong": reply("391")},
        ops=["gate.first"] * 3 + ["strong"],
        text="391",
        route="strong",
        reason="no_answer",
    ),
    Ending(
        name="a failing strong expert leaves the first answer, and says so",
        body={},
        answers={"gate.first": reply("7"), "gate.second": reply("8"), "strong": REFUSED},
        ops=[*TWO, "strong"],
        text="7",
        route="strong",
        reason="disagreement",
        status="incomplete",
        stop="",
        incomplete="upstream_degraded",
        opinion=BOUGHT_DISAGREES,
    ),
    Ending(
        name="a wrong first answer is searched, and the search stops at the right one",
        body=RIGHT | ONE_WORKER,
        answers={"gate.first": reply("7"), "t*": lambda: in_turn(reply("8"), reply("391"))},
        ops=["gate.first", "t1", "t2"],
        text="391",
        route="search",
        reason="below_target",
        stop="target_score",
        confidence=1.0,
    ),
    Ending(
        name="an unreadable first answer is searched where answers can be scored",
        body=RIGHT | ONE_WORKER,
        answers={"gate.first": EMPTY, "t*": reply("391")},
        ops=["gate.first", "t1"],
        text="391",
        route="search",
        reason="invalid_format",
        stop="target_score",
        confidence=1.0,
    ),
    Ending(
        name="a failed first call is searched where answers can be scored",
        body=RIGHT | ONE_WORKER,
        answers={"gate.first": REFUSED, "t*": reply("391")},
        ops=["gate.first", "t1"],
        text="391",
        route="search",
        reason="no_answer",
        stop="target_score",
        confidence=1.0,
    ),
    Ending(
        name="a search that finds nothing better returns what most say as incomplete",
        body=RIGHT | ONE_WORKER,
        answers={"gate.first": reply("7"), "t*": reply("8")},
        ops=["gate.first", "t1", "t2", "t3"],
        text="8",
        route="search",
        reason="below_target",
        status="incomplete",
        stop="max_nodes",
        incomplete="max_nodes",
        confidence=0.0,
    ),
    Ending(
        name="a search out of patience has done what was asked of it",
        body=RIGHT | {"search": {"concurrency": 1, "max_nodes": 9, "patience": 2}},
        answers={"gate.first": reply("7"), "t*": reply("8")},
        ops=["gate.first", "t1", "t2"],
        text="8",
        route="search",
        reason="below_target",
        stop="patience",
        confidence=0.0,
    ),
    Ending(
        name="a forced search asks no first answer",
        body={"mode": "search"} | RIGHT | ONE_WORKER,
        answers={"t*": lambda: in_turn(reply("7"), reply("391"))},
        ops=["t1", "t2"],
        text="391",
        route="search",
        reason="forced",
        stop="target_score",
        confidence=1.0,
    ),
    Ending(
        name="a search goes on past calls that fail",
        body={"mode": "search"} | RIGHT | ONE_WORKER,
        answers={"t1": REFUSED, "t*": reply("391")},
        ops=["t1", "t2"],
        text="391",
        route="search",
        reason="forced",
        stop="target_score",
        confidence=1.0,
    ),
    Ending(
        name="a search whose experts all fail keeps what it had",
        body=RIGHT | ONE_WORKER,
        answers={"gate.first": reply("7"), "t*": REFUSED},
        ops=["gate.first", *(f"t{n}" for n in range(1, 7))],
        text="7",
        route="search",
        reason="below_target",
        status="incomplete",
        stop="experts_failed",
        incomplete="upstream_degraded",
        confidence=0.0,
    ),
    Ending(
        name="a form that fits is still only a form: an opinion is bought",
        body=ANY_JSON,
        answers={"gate.*": reply("7")},
        ops=TWO,
        text="7",
        route="single",
        reason="agreement",
        opinion={"bought": True, "agree": True},
    ),
    Ending(
        name="a form that does not fit is searched",
        body=ANY_JSON | ONE_WORKER,
        answers={"gate.first": reply("seven"), "t1": reply("7")},
        ops=["gate.first", "t1"],
        text="7",
        route="search",
        reason="below_target",
        stop="target_score",
    ),
]


def _script(ending: Ending) -> Script:
    # Scripts that answer in turn are spent by one run.
    return by_op({op: say() if callable(say) else say for op, say in ending.answers.items()})


@pytest.fixture(scope="module")
async def running(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Fathom]:
    """One gateway for the whole table: the problem names the ending, and so its answers."""
    scripts = {ending.name: _script(ending) for ending in ENDINGS}

    def script(request: CompletionRequest) -> Answer | Awaitable[Answer]:
        return scripts[request.problem](request)

    url = copied(backends, tmp_path_factory.mktemp("endings"))
    async with fathom(url, script) as gateway:
        yield gateway


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.name for ending in ENDINGS])
async def test_solve_ends_as_its_answers_demand(ending: Ending, running: Fathom) -> None:
    """The table above: what was asked, and what the caller is told, then and afterwards."""
    response = await running.solve(ending.body, input=ending.name)
    assert response.status_code == 200, response.text
    solve = response.json()
    asked = [one.op for one in running.provider.requests if one.problem == ending.name]
    assert asked == ending.ops
    assert solve["output_text"] == ending.text
    assert (solve["status"], solve["stop_reason"] or "") == (ending.status, ending.stop)
    assert solve["incomplete_details"] == (
        None if ending.incomplete is None else {"reason": ending.incomplete}
    )
    assert solve["decision"]["route"] == ending.route == response.headers["X-Solve-Route"]
    assert solve["decision"]["reason"] == ending.reason
    assert solve["decision"]["top_reasons"]
    assert solve["decision"]["second_opinion"] == ending.opinion
    assert solve["confidence"] == ending.confidence
    assert solve["error"] is None
    assert (await running.client.get(solve["links"]["self"])).json() == solve


async def test_no_provider_answers(sqlite_url: str) -> None:
    """Every call refused for now: 503, to be tried again, with what was spent."""
    async with fathom(sqlite_url, OVERLOADED) as running:
        response = await running.solve()
        problem = response.json()
        assert (response.status_code, problem["code"]) == (503, "upstream-unavailable")
        assert problem["retryable"] is True
        assert problem["spent_usd"] == "0.00"
        assert int(response.headers["Retry-After"]) > 0
        assert running.ops() == ["gate.first"] * 3 + ["strong"] * 3
        assert await running.solves() == ["failed"]


async def test_every_provider_refuses(sqlite_url: str) -> None:
    """A refusal for good: 502, asked once each, not to be tried again."""
    async with fathom(sqlite_url, REFUSED) as running:
        response = await running.solve()
        problem = response.json()
        assert (response.status_code, problem["code"]) == (502, "upstream-invalid-response")
        assert problem["retryable"] is False
        assert problem["spent_usd"] == "0.00"
        assert running.ops() == ["gate.first", "strong"]


async def test_search_without_any_answer_fails_as_its_provider_did(sqlite_url: str) -> None:
    """With nothing to return, the last failure is the reason."""
    async with fathom(sqlite_url, OVERLOADED) as running:
        response = await running.solve({"mode": "search"} | RIGHT | ONE_WORKER)
        assert response.status_code == 503
        solve_id = response.json()["solve_id"]
        kept = (await running.client.get(f"/v1/solves/{solve_id}")).json()
        assert (kept["status"], kept["output_text"]) == ("failed", None)


async def test_fault_of_the_gateway_is_settled_and_told_without_its_text(sqlite_url: str) -> None:
    """A bug is 500; the solve has ended, holds nothing, and the fault's text stays inside."""
    async with fathom(sqlite_url, by_op({"gate.first": reply("7")})) as running:
        response = await running.solve(gate={"second_opinion": "always"})
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert "scripted" not in response.text
        assert response.json()["request_id"] == response.headers["X-Request-Id"]
        assert len(await running.solves()) == 1
        assert "in_progress" not in await running.solves()
