"""Recordings made into what a replayed gateway needs."""

import json
from pathlib import Path

import pytest

from app.catalogue import open_recordings
from app.errors import InvalidRequest
from app.evaluation.replayable import SETS, RecordedSet, Wanted, make_replayable
from app.evaluation.tasks import read_tasks
from app.settings import ReplayProviderConfig, read_config
from tests.evaluation.replays import MODELS, write_recordings

WANTED = Wanted(
    models=3, limit=None, evaluator="recorded", reasoning_tokens=500, output_tokens_max=100
)
SET = RecordedSet("rg", "easy", MODELS, frozenset({"hidden"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four problems; one model has not answered the last of them."""
    pytest.importorskip("pyarrow")
    return write_recordings(tmp_path / "recorded")


def _samples(out: Path, problem: str, model: str) -> list[tuple[str, int, float | None]]:
    provider = read_config(out / "fathom.toml").providers["recorded"]
    assert isinstance(provider, ReplayProviderConfig)
    found = open_recordings(provider).samples(problem, model)
    return [(one.text, one.output_tokens, one.score) for one in found]


def test_samples_come_in_order_with_their_scores(folder: Path, tmp_path: Path) -> None:
    """Two that say the same and scored differently are told apart by white space."""
    made = make_replayable(folder, SET, WANTED, tmp_path / "out")
    assert made.problems == 3
    assert _samples(tmp_path / "out", "Problem 1", "cheap") == [
        ("<answer>1</answer>", 10, 1.0),
        ("<answer>2</answer>", 11, 0.5),
        ("<answer>1</answer>\n", 12, 0.25),
    ]


def test_answer_that_was_recorded_in_part_keeps_its_hash(folder: Path, tmp_path: Path) -> None:
    """So that two with the same beginning do not agree; one that is missing is no answer."""
    make_replayable(folder, SET, WANTED, tmp_path / "out")
    texts = [text for text, _, _ in _samples(tmp_path / "out", "Problem 1", "strong")]
    assert texts == ["<answer>begins alike h0</answer>", "<answer>begins alike h1</answer>", ""]


def test_hidden_reasoning_is_assumed_and_said(folder: Path, tmp_path: Path) -> None:
    """What was recorded of it is far too little to be a cost."""
    made = make_replayable(folder, SET, WANTED, tmp_path / "out")
    assert made.assumed == ["hidden"]
    tokens = [tokens for _, tokens, _ in _samples(tmp_path / "out", "Problem 1", "hidden")]
    assert tokens == [510, 511, 512]
    assert made.cut == {"cheap": 0.0, "strong": 0.0, "hidden": 1.0}


def test_experts_have_their_roles_and_prices(folder: Path, tmp_path: Path) -> None:
    """The first is cheap, the next strong; every one of them may search."""
    make_replayable(folder, SET, WANTED, tmp_path / "out")
    config = read_config(tmp_path / "out" / "fathom.toml")
    policy = config.policies["default"]
    roles = (policy.default_expert, policy.strong_expert, policy.second_opinion_expert)
    assert roles == MODELS
    assert tuple(policy.search_experts or ()) == MODELS
    assert config.experts["strong"].output_usd_per_mtok == 15_000_000_000
    # No prompt was longer than what a call of it is bounded by.
    assert config.experts["cheap"].template_tokens + len("Problem 1") + 16 >= 90


def test_tasks_are_the_same_however_many_models(folder: Path, tmp_path: Path) -> None:
    """Those that every model of the set has answered; seen by the strategies, and not."""
    for models in (1, 3):
        wanted = Wanted(models, 2, "recorded", 0, 100)
        make_replayable(folder, SET, wanted, tmp_path / f"{models}")
    few, many = (read_tasks(tmp_path / models / "tasks.jsonl") for models in ("1", "3"))
    assert few.sha256 == many.sha256
    assert [task.is_scored for task in many.tasks] == [True, True]
    final = read_tasks(tmp_path / "3" / "tasks-final.jsonl").tasks
    assert [(task.is_scored, task.grading) for task in final] == [(False, "recorded")] * 2
    assert final[0].body["metadata"] == {"task": "counting", "category": "numbers"}


def _spoil(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("prices.json", {"cheap": [1, 2]}, "strong"), ("prices.json", [], "not as described")],
)
def test_folder_that_is_not_as_described_is_refused(
    folder: Path,
    tmp_path: Path,
    name: str,
    content: object,
    said: str,
) -> None:
    """By what is missing."""
    _spoil(folder, name, content)
    with pytest.raises(InvalidRequest, match=said):
        make_replayable(folder, SET, WANTED, tmp_path / "out")


def test_missing_file_is_named(folder: Path, tmp_path: Path) -> None:
    """And where it was looked for."""
    (folder / "rg_problems.jsonl.gz").unlink()
    with pytest.raises(InvalidRequest, match=r"there is no .*rg_problems\.jsonl\.gz"):
        make_replayable(folder, SET, WANTED, tmp_path / "out")


def test_every_set_begins_with_models_that_show_their_reasoning() -> None:
    """The roles of a policy would else have costs that are assumed."""
    for known in SETS.values():
        assert not known.hide & set(known.models[:3])
        assert known.hide <= set(known.models)
