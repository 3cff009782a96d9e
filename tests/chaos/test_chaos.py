from pathlib import Path

import pytest

from tests.chaos.__main__ import main


@pytest.mark.timeout(240)
async def test_books_close_whatever_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short run with every fault once; `python -m tests.chaos` runs longer ones."""
    held = await main(seconds=20, seed=1, replicas=3, log=tmp_path / "replicas.log")
    print(capsys.readouterr().out)  # noqa: T201 - the table
    assert held
