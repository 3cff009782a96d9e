"""What the routes work with, put into the application's state once, at start."""

from dataclasses import dataclass, field

from fastapi import Request

from app.db.engine import Database
from app.dispatch.batches import Batches
from app.dispatch.dispatcher import Dispatcher
from app.dispatch.inline import Inline
from app.ledger.books import Books
from app.ledger.ledger import Ledger
from app.ledger.listing import Listing
from app.ledger.usage import Usage
from app.notices.admission import Webhooks
from app.solve.archive import Archive
from app.solve.benefit import Benefit
from app.solve.cancelling import Cancelling
from app.solve.following import Following
from app.solve.labelling import Labelling
from app.solve.replaying import Replaying
from app.solve.resuming import Resuming
from app.solve.solver import Solver
from app.telemetry.metrics import Metrics
from app.telemetry.readiness import Readiness
from app.tenants.directory import Directory


@dataclass(frozen=True, slots=True)
class Operator:
    """Who may change what tenants may: its key, and what it works on."""

    key: str = field(repr=False)
    database: Database


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that HTTP offers, and what it tells operators."""

    directory: Directory
    solver: Solver
    inline: Inline
    background: Dispatcher
    batches: Batches
    cancelling: Cancelling
    archive: Archive
    labelling: Labelling
    following: Following
    webhooks: Webhooks
    listing: Listing
    resuming: Resuming
    replaying: Replaying
    ledger: Ledger
    usage: Usage
    benefit: Benefit
    books: Books
    readiness: Readiness
    metrics: Metrics
    operator: Operator | None = None


def services(request: Request) -> Services:
    """The services of the running application."""
    found = request.state.services
    assert isinstance(found, Services)
    return found
