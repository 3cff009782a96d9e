"""The command that trains the gate, off every request's way: on recordings, or on labels."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.errors import InvalidRequest
from app.evaluation.prior import fit_shipped
from app.gate.document import document_of

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
) -> None:
    """Fit weights, and say what they come to on problems that they were not fitted on."""
    if data is None or out is None:
        raise InvalidRequest("data", "give --data and --out")
    made = fit_shipped(data)
    document = document_of(made.model) | {"figures": made.figures}
    out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    typer.echo(f"{out}: {document['version']}")
