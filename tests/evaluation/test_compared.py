"""Figures of a comparison: paired, told apart from chance, and the same from the same seed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.evaluation.compared import Json, finished, report
from app.evaluation.comparison_page import comparison_page
from app.evaluation.results import Result, ResultsFile, read_results
from app.evaluation.strategies import arm_id

ROW = Result(
    task="1",
    category="sums",
    strategy="cheap",
    budget="0.10",
    seed=0,
    right=True,
    score=1.0,
    status="completed",
    route="single",
    chance=None,
    cost_usd="0.001",
    tokens=100,
    calls=1,
    latency_ms=10.0,
    expert="a@1",
    solve="slv_1",
)
ARMS = [arm_id(name, "0.10") for name in ("cheap", "gate", "strong")]
MATCHED = {"by": "cost", "amounts": ["0.10"], "unit": "dollars", "field": "budget.max_cost_usd"}


def _rows(strategy: str, rights: Sequence[bool | None], cost_usd: str = "0.001") -> list[Result]:
    return [
        replace(ROW, strategy=strategy, task=f"{number}", right=right, cost_usd=cost_usd)
        for number, right in enumerate(rights)
    ]


def _made_up(tasks: int = 400) -> list[Result]:
    """`strong` is right where `cheap` is and more often; `gate` is a coin between the two."""
    rng = np.random.default_rng(0)
    hard = rng.random(tasks)
    cheap = [bool(one < 0.5) for one in hard]
    strong = [bool(one < 0.8) for one in hard]
    coin = [bool(one) for one in rng.random(tasks) < 0.5]
    mixed = [b if heads else a for a, b, heads in zip(cheap, strong, coin, strict=True)]
    gate = [
        replace(row, cost_usd="0.01" if heads else "0.001", chance=0.5 if heads else 0.9)
        for row, heads in zip(_rows("gate", mixed), coin, strict=True)
    ]
    return [*_rows("cheap", cheap), *gate, *_rows("strong", strong, "0.01")]


def _arm(figures: Json, name: str) -> Json:
    found: Json = next(one for one in figures["arms"] if one["strategy"] == name)
    return found


results = st.builds(
    Result,
    task=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
    category=st.text(st.characters(exclude_categories=["C", "Z"])),
    strategy=st.sampled_from(["gate", 'search@a+"b"', "single:a,b"]),
    budget=st.sampled_from(["0.10", "2000"]),
    seed=st.integers(0, 2**53),
    right=st.none() | st.booleans(),
    score=st.none() | st.floats(0, 1),
    status=st.just("completed"),
    route=st.sampled_from(["", "search"]),
    chance=st.none() | st.floats(0, 1),
    cost_usd=st.just("0.001"),
    tokens=st.integers(0, 10**6),
    calls=st.integers(0, 500),
    latency_ms=st.floats(0, 1e6),
    expert=st.just("a@1"),
    solve=st.just("slv_1"),
)


@given(rows=st.lists(results, min_size=1), cut=st.integers(0, 200))
def test_rows_are_read_as_they_were_written(rows: list[Result], cut: int) -> None:
    """However much of the last one a crash has left; the rest is written behind the whole ones."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        with ResultsFile(path) as file:
            for row in rows[:-1]:
                file.append(row)
            whole = path.read_bytes()
            file.append(rows[-1])
        path.write_bytes(path.read_bytes()[: len(whole) + cut])
        left = len(read_results(path))
        assert left in {len(rows) - 1, len(rows)}
        with ResultsFile(path) as file:
            for row in rows[left:]:
                file.append(row)
        assert read_results(path) == rows


def test_other_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    """It is not appended to."""
    path = tmp_path / "results.csv"
    path.write_text("a,b\n1,2\n", "utf-8")
    with pytest.raises(InvalidRequest, match="move it away"):
        read_results(path)


def test_only_tasks_that_every_arm_has_finished_count() -> None:
    """With every seed; else one strategy would be judged on easier tasks than another."""
    rows = [*_rows("cheap", [True] * 5), *_rows("gate", [True] * 3)]
    arms = finished(rows, ARMS[:2], seeds=1)
    assert [len(arm.right) for arm in arms.values()] == [3, 3]
    assert finished(rows, ARMS[:2], seeds=2) == {}
    assert finished(rows, ARMS, seeds=1) == {}


def test_differences_are_paired() -> None:
    """What is hard for both cancels out: narrower than if each had tasks of its own."""
    figures = report(finished(_made_up(), ARMS, seeds=1), baseline="cheap", seed=0)
    own = [_arm(figures, name)["accuracy"] for name in ("cheap", "strong")]
    unpaired = sum((one["high"] - one["low"]) ** 2 for one in own) ** 0.5
    difference = _arm(figures, "strong")["to_baseline"]["accuracy"]
    assert 0.2 < difference["low"] < difference["value"] < difference["high"] < 0.4
    assert difference["high"] - difference["low"] < 0.85 * unpaired


def test_coin_is_no_better_than_mixing() -> None:
    """At equal dollars a strategy must beat what tossing a coin buys, and a coin does not."""
    figures = report(finished(_made_up(), ARMS, seeds=1), baseline="cheap", seed=0)
    above = _arm(figures, "gate")["to_mixing"]
    assert above["low"] < 0 < above["high"]
    assert abs(above["value"]) < 0.05
    assert "to_mixing" not in _arm(figures, "strong")


def test_same_seed_gives_the_same_figures() -> None:
    """And the interval of a share is as wide as it should be."""
    arms = finished(_made_up(), ARMS, seeds=1)
    figures = report(arms, baseline="cheap", seed=1)
    assert figures == report(arms, baseline="cheap", seed=1)
    cheap = _arm(figures, "cheap")["accuracy"]
    width = 2 * 1.96 * (0.5 * 0.5 / 400) ** 0.5
    assert cheap["high"] - cheap["low"] == pytest.approx(width, rel=0.15)


def test_what_was_not_graded_is_left_out() -> None:
    """And counted; it is not wrong."""
    rows = _rows("cheap", [True, None, False, True])
    figures = report(finished(rows, ARMS[:1], seeds=1), baseline="cheap", seed=0)
    assert _arm(figures, "cheap")["accuracy"]["value"] == pytest.approx(2 / 3)
    assert "completed 4" in comparison_page(_told(figures))
    nothing = finished(_rows("cheap", [None, None]), ARMS[:1], seeds=1)
    figures = report(nothing, baseline="cheap", seed=0)
    assert _arm(figures, "cheap")["accuracy"]["value"] is None
    assert "Nothing could be graded" in comparison_page(_told(figures))


def _told(figures: Json) -> Json:
    matched = MATCHED | {"cap_usd": None}
    more = {"seeds": [0], "strong": "strong", "warm_up": 0, "unfinished": 0}
    return figures | more | {"matched": matched}


def test_page_needs_nothing_else() -> None:
    """No address, no script; a strategy's name is text and never markup."""
    odd = [replace(row, category="<b>") for row in _made_up()]
    figures = report(finished(odd, ARMS, seeds=1), baseline="cheap", seed=0)
    drawn = comparison_page(_told(figures))
    assert drawn.count("<svg") == 4
    for foreign in ("://", "<script", "NaN", "nan", "<b>", "href"):
        assert foreign not in drawn
    assert "Matched: cost. Every strategy may use up to 0.10 dollars a task" in drawn
