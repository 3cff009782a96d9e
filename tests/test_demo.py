"""The demonstration shows what it promises, and its costs are the ledger's."""

import io
from pathlib import Path

from rich.console import Console

from app.demo import WIDTH, run_demo
from app.settings import Settings


async def test_the_demonstration_agrees_with_the_ledger(tmp_path: Path) -> None:
    """A single route, a search that solved what the first answer missed, and equal costs."""
    shown = io.StringIO()
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'demo.db'}")
    assert await run_demo(settings, Console(file=shown, width=WIDTH))
    text = shown.getvalue()
    rows = [line.split() for line in text.splitlines() if "search" in line or "single" in line]
    assert any("single" in row and "✓" in row for row in rows)
    assert any("search" in row and "✓" in row for row in rows)
    assert "the two easiest, then every fifth" in text
    assert ": equal." in text
    assert "curl -s -H 'Authorization: Bearer fathom_" in text
