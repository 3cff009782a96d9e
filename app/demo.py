"""The demonstration: twelve recorded puzzles through the real HTTP service, three ways each.

Nothing is simulated but the models, whose answers were recorded; the service, the gate, the search
and the ledger are the ones that run in production, on their embedded defaults.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import uvicorn
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from app.accounts import Allowance, NewAccount, open_tenant
from app.answers.extract import extract
from app.data.game24 import SELECTION_RULE, Puzzle, puzzles
from app.ids import uuid7
from app.ledger.periods import Period
from app.main import app_of
from app.money import NanoUSD, from_usd, to_usd
from app.settings import Settings, read_config
from app.wiring import Gateway, open_gateway

SEED: Final = 0
BUDGET_USD: Final = "20"
CAP_USD: Final = "0.50"
NODES_MAX: Final = 16
MODES: Final = ("single", "auto", "search")
CONCURRENCY: Final = 4
WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Attempted:
    """One puzzle solved one way: the solve object that the service returned."""

    puzzle: Puzzle
    mode: str
    solve: dict[str, Any]

    @property
    def is_right(self) -> bool:
        """Whether the verifier gave the full score."""
        evaluation = self.solve["evaluation"]
        return evaluation is not None and evaluation["score"] == 1.0

    @property
    def cost(self) -> NanoUSD:
        """What the service says it cost."""
        return from_usd(self.solve["cost"]["total_usd"])


async def run_demo(settings: Settings, console: Console) -> bool:
    """Run it and print it; whether the costs printed equal the ledger's."""
    async with open_gateway(settings, read_config(None)) as gateway:
        account = await _open_demo_account(gateway)
        async with serving(gateway) as url:
            attempted = await _attempt_all(url, account.key)
            tree = await _tree(url, account.key, attempted)
        charged = await gateway.records.charged(account.tenant_id)
    _print_puzzles(console, attempted)
    _print_totals(console, attempted)
    printed = NanoUSD(sum(one.cost for one in attempted))
    verdict = "equal" if printed == charged else "NOT EQUAL"
    console.print(
        f"\nCosts printed ${to_usd(printed)}, charged in the ledger ${to_usd(charged)}: {verdict}."
    )
    _print_next_steps(console, settings, account.key, attempted, tree)
    return printed == charged


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave them to the program that this is only a part of."""
        yield


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncGenerator[str]:
    """The service over real HTTP on a free port of this machine; its address."""
    server = _Server(uvicorn.Config(app_of(gateway), port=0, log_level="warning"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True


async def _open_demo_account(gateway: Gateway) -> NewAccount:
    # A tenant of its own each time, so that its account holds this demonstration and nothing else.
    allowance = Allowance(limit=from_usd(BUDGET_USD), period=Period.TOTAL)
    name = f"demo-{uuid7().hex[-8:]}"
    return await open_tenant(gateway.database, name=name, policy="default", allowance=allowance)


def _body(puzzle: Puzzle, mode: str) -> dict[str, Any]:
    return {
        "input": puzzle.problem,
        "mode": mode,
        "seed": SEED,
        "evaluators": [
            {"type": "expression", "config": {"numbers": list(puzzle.numbers), "target": 24}}
        ],
        "search": {"max_nodes": NODES_MAX, "patience": NODES_MAX, "concurrency": 1},
        "budget": {"max_cost_usd": CAP_USD},
        "metadata": {"puzzle": puzzle.puzzle_id},
    }


async def _attempt_all(url: str, key: str) -> list[Attempted]:
    """Every puzzle every way, a few at a time; in the order of the puzzles."""
    slots = asyncio.Semaphore(CONCURRENCY)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:

        async def attempt(puzzle: Puzzle, mode: str) -> Attempted:
            async with slots:
                response = await client.post("/v1/solve", json=_body(puzzle, mode))
            response.raise_for_status()
            return Attempted(puzzle, mode, response.json())

        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(attempt(puzzle, mode)) for puzzle in puzzles() for mode in MODES
            ]
    return [task.result() for task in running]


async def _tree(url: str, key: str, attempted: Sequence[Attempted]) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        path = _shown(attempted).solve["links"]["tree"]
        return (await client.get(path, params={"format": "text"})).raise_for_status().text


def _shown(attempted: Sequence[Attempted]) -> Attempted:
    """The solve whose tree is shown: the first that the gate escalated and the search solved."""
    gated = [one for one in attempted if one.mode == "auto"]
    searched = [one for one in gated if one.solve["decision"]["route"] == "search"]
    return next((one for one in searched if one.is_right), gated[0])


def _calls(solve: dict[str, Any]) -> int:
    return sum(expert["calls"] for expert in solve["usage"]["by_expert"])


def _print_puzzles(console: Console, attempted: Sequence[Attempted]) -> None:
    console.print(f"\n[bold]Game of 24, answered by GPT-4 (recorded).[/bold] {SELECTION_RULE}")
    console.print(
        f"Seed {SEED}. No refinement was recorded, so going deeper draws a fresh sample too.\n"
    )
    table = Table(
        "puzzle", "rank", "route", "reason", "answer", "score", "calls", "cost", box=SIMPLE
    )
    for one in attempted:
        if one.mode != "auto":
            continue
        decision, evaluation = one.solve["decision"], one.solve["evaluation"]
        table.add_row(
            one.puzzle.puzzle,
            str(one.puzzle.rank),
            decision["route"],
            decision["reason"],
            extract(one.solve["output_text"], None) or "-",
            f"{evaluation['score']:.2f}{' ✓' if one.is_right else ''}",
            str(_calls(one.solve)),
            f"${one.solve['cost']['total_usd']}",
        )
    console.print(table)


def _print_totals(console: Console, attempted: Sequence[Attempted]) -> None:
    table = Table("strategy", "right", "accuracy", "cost", "a puzzle", "calls", box=SIMPLE)
    names = {"single": "always one call", "auto": "the gate", "search": "always search"}
    for mode in MODES:
        ours = [one for one in attempted if one.mode == mode]
        right = sum(one.is_right for one in ours)
        cost = NanoUSD(sum(one.cost for one in ours))
        table.add_row(
            names[mode],
            f"{right} of {len(ours)}",
            f"{right / len(ours):.0%}",
            f"${to_usd(cost)}",
            f"${to_usd(NanoUSD(cost // len(ours)))}",
            str(sum(_calls(one.solve) for one in ours)),
        )
    console.print(table)
    console.print(
        "A free and exact verifier lets a search stop at its first right answer, so the gate\n"
        "saves little against it here; against one call it shows what accuracy costs."
    )


def _print_next_steps(
    console: Console, settings: Settings, key: str, attempted: Sequence[Attempted], tree: str
) -> None:
    shown = _shown(attempted)
    console.print(f"\n[bold]The tree of {shown.puzzle.puzzle}[/bold] (node, score, expert, cost):")
    console.print(tree, markup=False, highlight=False)
    console.print("[bold]Look further[/bold]: run `make serve`, then")
    address = f"http://{settings.host}:{settings.port}"
    # Not wrapped: a command in two lines cannot be pasted.
    auth = f"-H 'Authorization: Bearer {key}'"
    path, tree_path = shown.solve["links"]["self"], shown.solve["links"]["tree"]
    verifier = f'--expression "{shown.puzzle.puzzle}=24"'
    for line in (
        f"  curl -s {auth} {address}{path}",
        f"  curl -s {auth} '{address}{tree_path}?format=text'",
        f"  FATHOM_API_KEY={key} \\",
        f'    .venv/bin/fathom solve "{shown.puzzle.problem}" {verifier}',
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
