"""The command that trains the gate, off every request's way: on recordings, or on labels."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.catalogue import read_weights
from app.errors import InvalidRequest
from app.evaluation.prior import fit_shipped
from app.gate.document import document_of
from app.learning.refit import LABELS_MIN, Refit, refit
from app.operate import on_database
from app.settings import read_config, read_settings

gate = typer.Typer(help="The gate's weights.", no_args_is_help=True)


@gate.callback()
def _named() -> None:
    """One command, and still called by its name."""


@gate.command("train")
def train(
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of recordings to fit on, instead of the database.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --data: the file to write.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; FATHOM_CONFIG.")] = None,
) -> None:
    """Fit weights anew on what was learned; they decide from now on if they are better.

    With --data and --out, fit those of a first day instead, which a configuration can name.
    """
    if (data is None) is not (out is None):
        raise InvalidRequest("data", "--data and --out go together")
    if data is not None and out is not None:
        made = fit_shipped(data)
        document = document_of(made.model) | {"figures": made.figures}
        out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        typer.echo(f"{out}: {document['version']}")
        return
    current = read_weights(read_config(config or read_settings().config).gate)
    if current is None:
        raise InvalidRequest("gate.weights", "is none: there is no learned gate to train")
    _tell(on_database(lambda database: refit(database, current)))


def _tell(found: Refit) -> None:
    if found.version is None:
        typer.echo(f"{found.labels} problems with both arms' outcomes; {LABELS_MIN} are needed")
        return
    typer.echo(
        f"{found.version}: {'promoted' if found.promoted else 'not better'}; "
        f"log loss {found.loss:.4f}, before {found.loss_before:.4f}; {found.lessons} lessons"
    )
