"""The `fathom` command: what it does, and that it refuses in one line."""

import asyncio
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app import __version__
from app.cli import GatewayUnreachable, app
from app.data.game24 import puzzles
from app.errors import GatewayError, InvalidRequest
from app.settings import Settings, read_config
from app.wiring import open_gateway
from tests.solve.serving import gateway_process, slow_config

DEMO = str(files("app") / "data" / "demo.toml")
FATHOM = str(Path(sys.executable).with_name("fathom"))


def _run(*arguments: str, **environment: str) -> Result:
    """The command within this process: a start costs more than most commands."""
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'fathom.db'}"


def test_a_database_is_brought_to_this_version(sqlite_url: str) -> None:
    """`fathom db upgrade` says what it is at; twice is as good as once."""
    for _ in range(2):
        done = _run("db", "upgrade", FATHOM_DATABASE_URL=sqlite_url)
        assert done.exit_code == 0, done.output
        assert __version__ in done.stdout


async def test_a_tenant_made_by_command_can_solve_by_command(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The key is printed alone, the answer on stdout, the bill on stderr; the books hold."""
    create = ("tenants", "create", "acme", "--limit-usd", "5")
    made = await asyncio.to_thread(_run, *create, FATHOM_DATABASE_URL=sqlite_url)
    key = made.stdout.strip()
    assert made.exit_code == 0, made.output
    assert key.startswith("fathom_key")
    config = slow_config(tmp_path, latency_s=0)
    async with gateway_process(config, database_url=sqlite_url) as (_, address):
        puzzle = puzzles()[5]
        arguments = ("solve", puzzle.problem, "--url", address, "--mode", "single")
        solved = await asyncio.to_thread(_run, *arguments, FATHOM_API_KEY=key)
        assert solved.exit_code == 0, solved.output
        assert solved.stdout.strip()
        assert "$0.0" in solved.stderr
        refused = await asyncio.to_thread(_run, *arguments, FATHOM_API_KEY="fathom_keyx_y")
        assert str(refused.exception).startswith("No valid key")
    checked = await asyncio.to_thread(_run, "check", FATHOM_DATABASE_URL=sqlite_url)
    assert checked.exit_code == 0
    total, held = checked.stdout.splitlines()[-1].split(" invariants, ")
    assert held == f"{total} hold"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "nobody"), "no tenant called 'nobody'"),
        (("tenants", "create", "acme", "--limit-usd", "ten"), "not a decimal amount"),
        (("tenants", "create", "acme", "--timezone", "Mars/Olympus"), "no time zone"),
        (("keys", "revoke", "key1"), "no key 'key1'"),
        *(
            (("budgets", "set", "a", "--limit-usd", "1", "--ladder", unfit), "ladder")
            for unfit in ("0.9", "0.9:search", "x:single", "2:single", "0.90001:single")
        ),
        (("budgets", "list", "nobody"), "no tenant called 'nobody'"),
        (
            ("budgets", "raise", "a", "--by-usd", "1", "--reason", "b", "--until", "2026-11-22"),
            "add a zone",
        ),
        (("webhooks", "secret", "nobody"), "no tenant called 'nobody'"),
        (("erase",), "name a solve, or --tenant"),
        (("erase", "slv_1"), "no solve 'slv_1' that has ended"),
        (("erase", "--tenant", "nobody"), "no tenant called 'nobody'"),
        (("budgets", "alert", "nobody", "--at", "0.8"), "one of --webhook, --slack and --email"),
        (("budgets", "alert", "nobody", "--at", "8", "--email", "a@b.c"), "a share of the limit"),
        (("budgets", "alert", "nobody", "--at", "nan", "--email", "a@b.c"), "a share of the limit"),
        (("budgets", "alert", "nobody", "--at", "0.8", "--email", "a@b.c"), "no tenant called"),
        (("solve", "2+2", "--url", "http://127.0.0.1:1"), "FATHOM_API_KEY"),
        (("serve", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (
            ("tenants", "create", "acme", "--policy", "nosuch", "--config", DEMO),
            "policy: the configuration has no 'nosuch'; it has: default",
        ),
    ],
)
def test_a_refusal_says_what_to_change(
    sqlite_url: str, arguments: tuple[str, ...], said: str
) -> None:
    """A refusal of the gateway's own, naming the part that was wrong."""
    done = _run(*arguments, FATHOM_DATABASE_URL=sqlite_url, FATHOM_API_KEY="")
    assert isinstance(done.exception, GatewayError)
    assert said in str(done.exception)


@pytest.mark.parametrize("policy", ["default", "nosuch"])
def test_a_policy_is_checked_where_a_configuration_says_which_there_are(
    sqlite_url: str, policy: str
) -> None:
    """By the environment too; with neither, the gateway's configuration is not known here."""
    create = ("tenants", "create", "acme", "--policy", policy)
    known = _run(*create, FATHOM_DATABASE_URL=sqlite_url, FATHOM_CONFIG=DEMO)
    assert (known.exit_code == 0) is (policy == "default")
    unknown = _run("tenants", "create", "other", *create[3:], FATHOM_DATABASE_URL=sqlite_url)
    assert unknown.exit_code == 0, unknown.output


NOWHERE = "postgresql+asyncpg://root@127.0.0.1:1/fathom"
UNREACHABLE = "the database cannot be reached; try again later"


@pytest.mark.parametrize(
    ("arguments", "database_url", "said"),
    [
        (("keys", "create", "nobody"), None, "tenant: there is no tenant called 'nobody'"),
        (("tenants", "list"), NOWHERE, UNREACHABLE),
        (("demo",), NOWHERE, UNREACHABLE),
        (("serve",), NOWHERE, UNREACHABLE),
    ],
)
def test_a_refusal_is_one_line(
    sqlite_url: str, arguments: tuple[str, ...], database_url: str | None, said: str
) -> None:
    """On stderr, with exit status 1 and without a traceback."""
    done = subprocess.run(
        [FATHOM, *arguments],
        env=os.environ | {"FATHOM_DATABASE_URL": database_url or sqlite_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"fathom: {said}\n"
    assert "Traceback" not in done.stdout


async def test_a_refusal_within_an_open_gateway_is_raised_as_itself(sqlite_url: str) -> None:
    """And not in a group with what the gateway runs beside it."""
    with pytest.raises(InvalidRequest, match="nonsense"):
        async with open_gateway(Settings(database_url=sqlite_url), read_config(None)):
            raise InvalidRequest("field", "nonsense")


def test_operators_see_tenants_keys_and_budgets(sqlite_url: str) -> None:
    """Projects and keys with budgets of their own, listed; a revoked key says so."""

    def fathom(*arguments: str) -> str:
        done = _run(*arguments, FATHOM_DATABASE_URL=sqlite_url)
        assert done.exit_code == 0, done.output
        return done.stdout

    fathom("tenants", "create", "acme")
    fathom("projects", "create", "acme", "web", "--limit-usd", "3", "--period", "month")
    key = fathom("keys", "create", "acme", "--project", "web", "--limit-usd", "2").strip()
    fathom("budgets", "set", "acme", "--limit-usd", "90", "--period", "month")
    weekly = ("--limit-usd", "70", "--period", "week", "--timezone", "Europe/Berlin")
    fathom("budgets", "set", "acme", *weekly)
    fathom("keys", "revoke", key.split("_")[1])
    assert "acme" in fathom("tenants", "list")
    assert "revoked" in fathom("keys", "list", "acme")
    listed = fathom("budgets", "list", "acme")
    for part in ("$90.00", "$3.00", "$2.00", "month", "project", "week", "Europe/Berlin"):
        assert part in listed


def test_operators_put_tenants_into_organisations(sqlite_url: str) -> None:
    """By name, when the tenant is made or later; the organisation's budget is set like others."""

    def fathom(*arguments: str) -> str:
        done = _run(*arguments, FATHOM_DATABASE_URL=sqlite_url)
        assert done.exit_code == 0, done.output
        return done.stdout

    fathom("orgs", "create", "group", "--limit-usd", "50", "--period", "month")
    fathom("tenants", "create", "acme", "--org", "group")
    fathom("tenants", "create", "beta")
    fathom("orgs", "add", "group", "beta")
    assert "acme, beta" in fathom("orgs", "list")
    fathom("orgs", "remove", "acme")
    assert "acme" not in fathom("orgs", "list")
    fathom("budgets", "set", "group", "--scope", "org", "--limit-usd", "7", "--period", "hour")
    fathom("budgets", "set", "acme", "--limit-usd", "9", "--ladder", "0.9:single")
    fathom("limits", "set", "acme", "--concurrency", "2", "--requests-per-minute", "60")
    fathom("limits", "clear", "acme")
    listed = fathom("budgets", "list", "group", "--scope", "org")
    more = ("--by-usd", "4", "--until", "2999-01-01T00:00Z", "--reason", "a launch")
    fathom("budgets", "raise", "group", "--scope", "org", "--period", "month", *more)
    assert "$54.00" in fathom("budgets", "list", "group", "--scope", "org")
    assert "$50.00" in listed
    assert "$7.00" in listed


class _Elsewhere(BaseHTTPRequestHandler):
    """Some other program's HTTP server."""

    def do_POST(self) -> None:
        """Answer as a gateway never would."""
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<h1>Not here</h1>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def test_a_server_that_is_no_gateway_is_named() -> None:
    """Its page is not taken for an answer, nor for a problem."""
    with HTTPServer(("127.0.0.1", 0), _Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.handle_request).start()
        address = f"http://127.0.0.1:{elsewhere.server_port}"
        done = _run("solve", "2+2", "--url", address, FATHOM_API_KEY="fathom_keyx_y")
    assert isinstance(done.exception, GatewayUnreachable)
    assert f"{address}/v1/solve: answered HTTP 404" in str(done.exception)


def test_a_key_that_no_header_can_carry_is_refused() -> None:
    """Pasted with a character too many."""
    done = _run("solve", "2+2", FATHOM_API_KEY="fathom_keyx_\N{EURO SIGN}")
    assert isinstance(done.exception, InvalidRequest)
    assert "FATHOM_API_KEY" in str(done.exception)


def test_a_gateway_that_is_not_there_is_named() -> None:
    """With what to do about it."""
    done = _run("solve", "2+2", "--url", "http://127.0.0.1:1", FATHOM_API_KEY="fathom_keyx_y")
    assert isinstance(done.exception, GatewayUnreachable)
    assert "is `fathom serve` running?" in str(done.exception)
