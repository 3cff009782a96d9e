"""What all seeds of a test process share."""

import pytest

from tests.simulation.yard import Yard


@pytest.fixture(scope="session")
def yard() -> Yard:
    """Made once: it takes as long as two seeds."""
    return Yard()
