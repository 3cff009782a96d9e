"""What the routes work with, put into the application's state once, at start."""

from dataclasses import dataclass

from fastapi import Request

from app.ledger.ledger import Ledger
from app.ledger.usage import Usage
from app.solve.archive import Archive
from app.solve.background import Background
from app.solve.cancelling import Cancelling
from app.solve.following import Following
from app.solve.solver import Solver
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from app.tenants.directory import Directory


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that HTTP offers, and what it tells operators."""

    directory: Directory
    solver: Solver
    background: Background
    cancelling: Cancelling
    archive: Archive
    following: Following
    ledger: Ledger
    usage: Usage
    readiness: Readiness
    metrics: Metrics


def services(request: Request) -> Services:
    """The services of the running application."""
    found = request.state.services
    assert isinstance(found, Services)
    return found
