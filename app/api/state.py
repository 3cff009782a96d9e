"""What the routes work with, put into the application's state once, at start."""

from dataclasses import dataclass

from fastapi import Request

from app.solve.archive import Archive
from app.solve.solver import Solver
from app.tenants.directory import Directory


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that HTTP offers."""

    directory: Directory
    solver: Solver
    archive: Archive


def services(request: Request) -> Services:
    """The services of the running application."""
    found = request.state.services
    assert isinstance(found, Services)
    return found
