"""Every refusal as a problem detail (RFC 9457): its form, and no error class without a status."""

import importlib
import pkgutil
from http import HTTPStatus

import app
from app.api.problems import INTERNAL, PROBLEMS, problem_named, problem_of
from app.cli import GatewayRefused, GatewayUnreachable
from app.errors import GatewayError
from app.evaluation.asking import ComparisonStopped
from app.evaluation.recorded import ParquetMissing
from app.evaluation.split import Leak
from app.ledger.refusals import BudgetExceeded
from app.money import NanoUSD
from app.providers.completion import ProviderRefused, ProviderUnavailable
from app.solve.attempt import CallFailed
from tests.gateway import fathom, unexpected

TERMINAL_ONLY = {ComparisonStopped, GatewayRefused, GatewayUnreachable, Leak, ParquetMissing}
"""What only the command line says: never answered over HTTP."""

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable"}


def _errors() -> set[type[GatewayError]]:
    """Every refusal that any module of the package defines."""
    for module in pkgutil.walk_packages(app.__path__, "app."):
        importlib.import_module(module.name)
    found: set[type[GatewayError]] = set()
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind.__module__.startswith("app.") and kind not in found:
                found.add(kind)
                waiting.append(kind)
    return found


def test_every_refusal_has_a_problem_of_its_own() -> None:
    """A class that nobody gave a status would be a 500 in disguise."""
    missing = {kind.__qualname__ for kind in _errors() - TERMINAL_ONLY - set(PROBLEMS)}
    assert missing == set()


def test_every_problem_is_told_by_an_error_status() -> None:
    """A 2xx never carries one; a code is a slug; the same code is always the same status."""
    by_code: dict[str, int] = {}
    for kind, problem in PROBLEMS.items():
        assert HTTPStatus(problem.status) >= 400, kind
        assert problem.code == problem.code.lower().replace(" ", "-").replace("_", "-")
        assert problem.title
        assert by_code.setdefault(problem.code, problem.status) == problem.status, problem.code


def test_stored_error_is_told_as_it_was() -> None:
    """A failed solve keeps the name of its error's class, and no two classes share one."""
    for kind, problem in PROBLEMS.items():
        assert problem_named(kind.__name__) is problem
    assert len({kind.__name__ for kind in PROBLEMS}) == len(PROBLEMS)


def test_error_without_a_problem_takes_its_nearest_ancestors() -> None:
    """And what nobody knows is an internal one."""

    class Narrower(BudgetExceeded):
        pass

    assert problem_of(Narrower("key", NanoUSD(1), NanoUSD(0))) is PROBLEMS[BudgetExceeded]
    assert problem_of(GatewayError("nobody knows")) is INTERNAL
    assert problem_named("NobodyKnows") is INTERNAL


def test_failed_call_is_told_as_what_made_it_fail() -> None:
    """What matters is whether to try again."""
    for cause, status in (
        (ProviderUnavailable("busy", may_have_worked=False), 503),
        (ProviderRefused("no", may_have_worked=False), 502),
    ):
        failed = CallFailed(cause, call_id="c", cost=NanoUSD(0))
        assert problem_of(failed.last).status == status


REFUSED = [
    ("GET", "/nowhere", 404),
    ("GET", "/v1/solve", 405),
    ("DELETE", "/v1/solves/slv_1", 405),
    ("GET", "/v1/solves/slv_1", 404),
    ("GET", "/v1/solves/slv_1/tree", 404),
    ("GET", "/v1/solves/slv_1/tree?format=svg", 422),
    ("GET", "/v1/solves/%00", 404),
    ("POST", "/v1/solve", 415),
]


async def test_problem_has_every_member(database_url: str) -> None:
    """The same document everywhere, under the id that the header has, and never to be cached."""
    async with fathom(database_url, unexpected) as running:
        for method, path, status in REFUSED:
            response = await running.client.request(method, path)
            problem = response.json()
            assert response.status_code == problem["status"] == status
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["cache-control"] == "no-store"
            assert problem.keys() >= MEMBERS
            assert problem["type"] == f"urn:fathom:problem:{problem['code']}"
            assert problem["instance"] == response.request.url.path
            assert problem["request_id"] == response.headers["x-request-id"]
            assert problem["title"]
            assert problem["detail"]


async def test_wrong_method_says_which_are_right(sqlite_url: str) -> None:
    """RFC 9110, section 15.5.6: a 405 names them."""
    async with fathom(sqlite_url, unexpected) as running:
        response = await running.client.get("/v1/solve")
        assert response.headers["allow"] == "POST"


async def test_requests_have_ids_of_their_own(sqlite_url: str) -> None:
    """Also those that succeed."""
    async with fathom(sqlite_url, unexpected) as running:
        answers = [await running.client.get("/healthz") for _ in range(3)]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 3
