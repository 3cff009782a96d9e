"""The commands that judge parts of Fathom offline, on recorded outputs: no key, no network."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app import comparison
from app.errors import InvalidRequest
from app.evaluation.judgement import Judged, judge_apart, judge_by_folds
from app.evaluation.ladder import (
    Figures,
    judge_climbs_apart,
    judge_climbs_by_folds,
    read_climbs,
)
from app.evaluation.page import page
from app.evaluation.recorded import PAIRS, Pair, read_pair
from app.evaluation.streams import synthetic
from app.gate.certificate import Promise
from app.operate import print_table

CLIMBED: Final = "RG1"
"""The pair among whose recordings searches with a verifier are judged, too."""

judgements = typer.Typer(help="Offline judgement on recorded outputs.", no_args_is_help=True)
judgements.command("run")(comparison.run)
judgements.command("tasks")(comparison.tasks)


@judgements.command("gate")
def judge_gate(
    *,
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of recordings, split by problem into five folds.")
    ] = None,
    fit: Annotated[
        Path | None, typer.Option(help="With --test: recordings to fit on, instead of --data.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Recordings of other problems.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Ways to split; the means are told.")] = 20,
    pairs: Annotated[str, typer.Option(help="Names, between commas.")] = ",".join(PAIRS),
) -> None:
    """Replay the gate on recorded outputs of cheap and strong models, beside its rivals."""
    chosen = [_pair(name.strip()) for name in pairs.split(",")]
    judged: dict[str, Judged] = {}
    for pair in chosen:
        judged[pair.name] = _judge(pair, data, fit, test, seeds)
        typer.echo(f"{pair.name}: judged", err=True)
    report: dict[str, Any] = {"pairs": {name: found.figures for name, found in judged.items()}}
    if CLIMBED in judged:
        report["search"] = {CLIMBED: _judge_search(data, fit, test, seeds)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    drawn = {name: found.curves for name, found in judged.items()}
    (out / "report.html").write_text(page(report["pairs"], drawn, report.get("search")), "utf-8")
    typer.echo(str(out / "report.html"))


@judgements.command("certificates")
def judge_certificates(
    *,
    streams: Annotated[int, typer.Option(min=1)] = 1000,
    epsilon: Annotated[list[float] | None, typer.Option(help="May be repeated.")] = None,
    delta: Annotated[float, typer.Option()] = 0.1,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Count false certificates on synthetic streams of audits; exit 1 where there are too many."""
    rows: list[tuple[str, ...]] = []
    broken = False
    for bound in epsilon or [0.02, 0.05]:
        kept = synthetic(Promise(bound, delta), streams=streams, seed=seed)
        allowed = kept.allowed(delta)
        broken |= kept.violations > allowed
        shares = (kept.violations, allowed, kept.certified / streams)
        rows.append((f"{bound:g}", f"{delta:g}", *(f"{share:.4f}" for share in shares)))
    print_table(("epsilon", "delta", "violations", "allowed", "certified"), rows)
    if broken:
        raise typer.Exit(1)


def _judge(
    pair: Pair, data: Path | None, fit: Path | None, test: Path | None, seeds: int
) -> Judged:
    if data is not None and fit is None and test is None:
        return judge_by_folds(read_pair(data, pair), seeds=seeds)
    if data is None and fit is not None and test is not None:
        return judge_apart(read_pair(fit, pair), read_pair(test, pair))
    raise InvalidRequest("data", "give --data, or both --fit and --test")


def _judge_search(data: Path | None, fit: Path | None, test: Path | None, seeds: int) -> Figures:
    if data is not None:
        return judge_climbs_by_folds(read_climbs(data), seeds=seeds)
    assert fit is not None, "the pairs were judged before"
    assert test is not None, "the pairs were judged before"
    return judge_climbs_apart(read_climbs(fit), read_climbs(test))


def _pair(name: str) -> Pair:
    if name not in PAIRS:
        raise InvalidRequest("pairs", f"{name!r} is none of {', '.join(PAIRS)}")
    return PAIRS[name]
