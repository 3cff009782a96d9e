"""`fathom eval run` and `fathom eval tasks`: strategies compared over HTTP, at equal means."""

import asyncio
import json
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.accounts import Allowance, open_key, open_tenant
from app.catalogue import open_recordings
from app.demo import serving
from app.errors import InvalidRequest
from app.evaluation.asking import TIMEOUT_S, Asking
from app.evaluation.compared import finished, report
from app.evaluation.comparing import Comparing, Comparison, Folder, KeyOf, open_folder
from app.evaluation.comparison_page import comparison_page
from app.evaluation.grading import Grader, RecordedExpert
from app.evaluation.replayable import SETS, Wanted, make_replayable
from app.evaluation.results import read_results
from app.evaluation.strategies import (
    LIMIT,
    STRONG,
    UNIT,
    Match,
    Searching,
    parse_amounts,
    parse_strategies,
)
from app.evaluation.tasks import RECORDED, read_tasks
from app.ledger.periods import Period
from app.money import NanoUSD, from_usd, to_usd
from app.settings import GatewayConfig, ReplayProviderConfig, Settings, read_config
from app.tenants.directory import find_tenant
from app.wiring import Gateway, open_gateway

INTERRUPTED: Final = 130
"""The exit status of a command that was ended by Ctrl-C."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A gateway that runs, and a key of it."""

    url: str
    key: str


TasksOption = Annotated[Path, typer.Option(help="JSON Lines, a task a line; see the README.")]
StrategiesOption = Annotated[
    str,
    typer.Option(
        help="Between commas: single:EXPERT, gate[:V], search[:ALGORITHM], parallel, "
        "strong[:EXPERT], or an algorithm such as best_of_n; @a+b behind one allows only these "
        "experts. One strong call is always added."
    ),
]
MatchOption = Annotated[Match, typer.Option(help="What every strategy gets the same of.")]
BudgetOption = Annotated[
    str, typer.Option(help="How much of it a task: dollars, tokens, ms or calls; commas sweep.")
]
OutOption = Annotated[Path, typer.Option(help="Folder; a run that was cut short is gone on with.")]
KeyOption = Annotated[str | None, typer.Option(envvar="FATHOM_API_KEY", help="For --url.")]
ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file of a gateway in this process, without --url.")
]
CapOption = Annotated[str, typer.Option(help="Dollars a task, where something else is matched.")]
LimitOption = Annotated[
    str, typer.Option(help="Dollars that a strategy may spend under a bound, without --url.")
]


def run(
    *,
    tasks: TasksOption,
    strategies: StrategiesOption,
    match: MatchOption,
    budget: BudgetOption,
    out: OutOption,
    url: Annotated[str | None, typer.Option(help="A running gateway.")] = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Solves at a time.")] = 4,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    baseline: Annotated[str | None, typer.Option(help="A strategy; else the first.")] = None,
    warm_up: Annotated[int, typer.Option(min=0, help="First tasks that do not count.")] = 0,
    max_nodes: Annotated[int, typer.Option(min=1, max=512, help="Of a search.")] = 16,
    patience: Annotated[int, typer.Option(min=1, max=512, help="Of a search.")] = 16,
    width: Annotated[int, typer.Option(min=1, max=32, help="Calls at once; 1 repeats.")] = 1,
    cap_usd: CapOption = "0.50",
    limit_usd: LimitOption = "20",
) -> None:
    """Compare strategies on tasks, at equal cost, tokens, latency or calls, over /v1/solve."""
    comparison = Comparison(
        tasks=read_tasks(tasks),
        strategies=parse_strategies(strategies),
        match=match,
        amounts=parse_amounts(match, budget),
        cap_usd=to_usd(_usd("cap-usd", cap_usd)),
        searching=Searching(max_nodes, patience, width),
        seeds=list(dict.fromkeys(seed or [0])),
        concurrency=concurrency,
    )
    base = _baseline(comparison, baseline)
    served = _served(url, key, config)
    folder = open_folder(out, comparison)
    if isinstance(served, GatewayConfig):
        allowed = _usd("limit-usd", limit_usd)
        is_done = asyncio.run(_in_process(comparison, folder, served, allowed))
    else:
        is_done = asyncio.run(_compare(comparison, folder, served.url, lambda _a, _s: served.key))
    if not is_done:
        kept = len(read_results(folder.results))
        typer.echo(f"{kept} answers are kept; the same command goes on from there", err=True)
        raise typer.Exit(INTERRUPTED)
    typer.echo(str(_write_report(comparison, folder, baseline=base, warm_up=warm_up)))


def tasks(
    *,
    data: Annotated[Path, typer.Option(help="Folder of recordings.")],
    out: Annotated[Path, typer.Option(help="Folder for what `fathom eval run` needs.")],
    chosen: Annotated[str, typer.Option("--set", help=", ".join(SETS))] = "rg-easy",
    models: Annotated[int, typer.Option(min=1, help="The first so many of the set.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Problems; all unless given.")] = None,
    evaluator: Annotated[
        str, typer.Option(help="recorded: the data's own score; exact: equality.")
    ] = "recorded",
    reasoning_tokens: Annotated[
        int, typer.Option(min=0, help="Assumed of each answer whose model hid its reasoning.")
    ] = 2000,
    max_output_tokens: Annotated[
        int, typer.Option(min=256, help="Ceiling of every expert; longer answers are cut.")
    ] = 4096,
) -> None:
    """Make recorded outputs into tasks, recordings and a fathom.toml that replays them."""
    if chosen not in SETS:
        raise InvalidRequest("set", f"{chosen!r} is none of {', '.join(SETS)}")
    if evaluator not in {"recorded", "exact"}:
        raise InvalidRequest("evaluator", f"{evaluator!r} is neither recorded nor exact")
    if models > len(SETS[chosen].models):
        raise InvalidRequest("models", f"{chosen} has {len(SETS[chosen].models)}")
    wanted = Wanted(models, limit, evaluator, reasoning_tokens, max_output_tokens)
    made = make_replayable(data, SETS[chosen], wanted, out)
    typer.echo(f"{made.problems} problems, {len(made.models)} models", err=True)
    for model, share in made.cut.items():
        assumed = f", {reasoning_tokens} tokens assumed" if model in made.assumed else ""
        typer.echo(f"  {model}: {share:.2%} of answers longer than the ceiling{assumed}", err=True)
    typer.echo(str(out / "fathom.toml"))


def _served(url: str | None, key: str | None, config: Path | None) -> GatewayConfig | _Running:
    """Where to ask: a gateway of this process, or one that runs."""
    if url is None:
        return read_config(config)
    if config is not None:
        raise InvalidRequest("url", "give --url, or --config for a gateway in this process")
    if not key or not key.isascii():
        raise InvalidRequest("key", "a gateway at --url needs --key, or FATHOM_API_KEY")
    return _Running(url, key)


async def _in_process(
    comparison: Comparison, folder: Folder, config: GatewayConfig, limit: NanoUSD
) -> bool:
    """Serve a gateway over real HTTP on a free port, its database kept in the folder."""
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder.path / 'fathom.db'}")
    async with open_gateway(settings, config) as gateway:
        keys = await _open_keys(gateway, comparison, folder, limit)
        async with serving(gateway) as url:
            recorded = _recorded(comparison, config)
            return await _compare(comparison, folder, url, keys, recorded=recorded)


async def _open_keys(
    gateway: Gateway, comparison: Comparison, folder: Folder, limit: NanoUSD
) -> KeyOf:
    # A tenant for each, so that what the gate learns from one strategy does not help another. The
    # same tenant again in a second run: an idempotency key is known within its tenant.
    allowance = Allowance(limit=limit, period=Period.TOTAL)
    keys: dict[tuple[str, int], str] = {}
    for seed in comparison.seeds:
        for arm in comparison.arms:
            name = folder.tenant(arm, seed)
            async with gateway.database.read() as tx:
                known = await find_tenant(tx, name)
            opening = (
                open_tenant(gateway.database, name=name, policy="default", allowance=allowance)
                if known is None
                else open_key(gateway.database, tenant=name, name="again", allowance=allowance)
            )
            keys[arm.id, seed] = (await opening).key
    return lambda arm, seed: keys[arm.id, seed]


def _recorded(comparison: Comparison, config: GatewayConfig) -> Mapping[str, RecordedExpert]:
    """The experts whose recordings grade, where any task asks for that."""
    if all(task.grading != RECORDED for task in comparison.tasks.tasks):
        return {}
    replayed = {
        name: open_recordings(provider)
        for name, provider in config.providers.items()
        if isinstance(provider, ReplayProviderConfig)
    }
    return {
        name: RecordedExpert(replayed[expert.provider], expert.model)
        for name, expert in config.experts.items()
        if expert.provider in replayed
    }


async def _compare(
    comparison: Comparison,
    folder: Folder,
    url: str,
    keys: KeyOf,
    *,
    recorded: Mapping[str, RecordedExpert] | None = None,
) -> bool:
    """Carry it out; False where Ctrl-C ended it, once what had begun was done."""
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        comparing = Comparing(
            comparison, Asking(client), keys=keys, grader=Grader(recorded or {}), folder=folder
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = Console(stderr=True)
        with (
            Progress(*columns, TimeRemainingColumn(), console=console) as bar,
            _until_interrupted() as stop,
        ):
            shown = bar.add_task("checks", total=None)

            def progress(what: str, done: int, of: int) -> None:
                bar.update(shown, description=what, completed=done, total=of)

            arms = await comparing.check(progress=partial(progress, "checks"), stop=stop)
            return await comparing.run(arms, progress=partial(progress, "solves"), stop=stop)


@contextmanager
def _until_interrupted() -> Generator[asyncio.Event]:
    """An event that the first Ctrl-C sets; a second one ends the process as ever."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _write_report(comparison: Comparison, folder: Folder, *, baseline: str, warm_up: int) -> Path:
    """`report.json` and `report.html`, of the tasks that are finished; the page's path."""
    counted = {task.id for task in comparison.tasks.tasks[warm_up:]}
    results = [
        result
        for result in read_results(folder.results)
        if result.task in counted and result.seed in comparison.seeds
    ]
    asked = [arm.id for arm in comparison.arms]
    arms = finished(results, asked, seeds=len(comparison.seeds))
    if not arms:
        raise InvalidRequest("warm-up", "no task is left that every strategy has finished")
    figures = report(arms, baseline=baseline, seed=comparison.seeds[0])
    figures |= {
        "matched": {
            "by": comparison.match,
            "amounts": comparison.amounts,
            "unit": UNIT[comparison.match],
            "field": f"budget.{LIMIT[comparison.match]}",
            "cap_usd": None if comparison.match is Match.COST else comparison.cap_usd,
        },
        "seeds": comparison.seeds,
        "strong": next(one.name for one in comparison.strategies if one.kind == STRONG),
        "warm_up": warm_up,
        "unfinished": len(counted) - figures["tasks"],
    }
    (folder.path / "report.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    page = folder.path / "report.html"
    page.write_text(comparison_page(figures), "utf-8")
    return page


def _baseline(comparison: Comparison, name: str | None) -> str:
    names = [strategy.name for strategy in comparison.strategies]
    if name is not None and name not in names:
        raise InvalidRequest("baseline", f"{name!r} is none of {', '.join(names)}")
    return name or names[0]


def _usd(field: str, text: str) -> NanoUSD:
    try:
        amount = from_usd(text)
    except ValueError as fault:
        raise InvalidRequest(field, str(fault)) from None
    if amount <= 0:
        raise InvalidRequest(field, "must be more than nothing")
    return amount
