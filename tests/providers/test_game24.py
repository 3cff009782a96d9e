import gzip
import json
from pathlib import Path

import pytest

from app.data import game24
from app.providers.recordings import Recordings
from benchmarks.data import build_game24

INPUT_TOKENS = {"gpt-4-io": 200, "gpt-4-cot": 437}


@pytest.mark.parametrize(("model", "input_tokens"), INPUT_TOKENS.items())
def test_packaged_recordings_are_whole(model: str, input_tokens: int) -> None:
    """Twelve puzzles of 100 samples a model, none of them empty or cut by the recorder."""
    recordings = Recordings.load(game24.PATH)
    puzzles = game24.puzzles()
    assert len(puzzles) == len(recordings.problems) == 12
    for puzzle in puzzles:
        samples = recordings.samples(puzzle.problem, model)
        assert len(samples) == 100
        assert {sample.input_tokens for sample in samples} == {input_tokens}
        assert all(sample.text and 0 < sample.output_tokens < 1_000 for sample in samples)


def test_packaged_puzzles_agree_with_their_problems() -> None:
    """Easiest first; the request names the four numbers that the evaluator will ask for."""
    puzzles = game24.puzzles()
    assert [puzzle.rank for puzzle in puzzles] == sorted({puzzle.rank for puzzle in puzzles})
    for puzzle in puzzles:
        assert puzzle.problem == game24.problem(puzzle.puzzle)
        assert len(puzzle.numbers) == 4
        assert puzzle.puzzle_id == f"g24-{puzzle.rank - 1}"


def test_readme_states_the_rule_and_every_puzzle() -> None:
    """What the demonstration prints of its data is what the data's README says."""
    readme = game24.PATH.with_name("README.md").read_text("utf-8")
    assert game24.SELECTION_RULE in " ".join(readme.replace("\n>", "\n").split())
    assert "Copyright (c) 2023 Shunyu Yao" in readme
    for puzzle in game24.puzzles():
        assert f"| {puzzle.puzzle} | {puzzle.rank} |" in readme


def test_rule_takes_the_two_easiest_and_every_fifth_of_the_rest() -> None:
    """As the rule is worded: of 51 puzzles it takes twelve."""
    assert build_game24.select(range(51)) == [0, 1, 2, 7, 12, 17, 22, 27, 32, 37, 42, 47]


def write_lines(path: Path, rows: list[dict[str, object]]) -> Path:
    """A gzipped source for the builder."""
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def recorded(puzzle: int, model: str, sample: int, **changes: object) -> dict[str, object]:
    """A row of the samples file."""
    return {
        "problem_id": f"g24-{puzzle}",
        "puzzle": f"1 2 3 {puzzle}",
        "model": model,
        "sample_idx": sample,
        "answer": "1+2",
        "text": None if model == "gpt-4-io" else "Answer: 1 + 2",
        "completion_tokens": 5,
        "problem_prompt_tokens": 1_000,
        "unused": True,
        **changes,
    }


def test_builder_orders_by_rank_and_leaves_out_what_is_unusable(tmp_path: Path) -> None:
    """Negative counts go, and with the last sample of a model the puzzle; other models go too."""
    samples = write_lines(
        tmp_path / "samples.gz",
        [
            recorded(1, "gpt-4-cot", 1),
            recorded(1, "gpt-4-cot", 0, completion_tokens=6),
            recorded(1, "gpt-4-io", 0),
            recorded(1, "gpt-4-io", 1, completion_tokens=-5),
            recorded(1, "gpt-4-tot-b5", 0),
            recorded(2, "gpt-4-io", 0),
            recorded(2, "gpt-4-cot", 0, problem_prompt_tokens=-67_735),
            recorded(3, "gpt-4-io", 0),
            recorded(3, "gpt-4-cot", 0),
        ],
    )
    tasks = write_lines(
        tmp_path / "tasks.gz", [{"id": f"g24-{n}", "rank": str(9 - n)} for n in (1, 2, 3)]
    )
    out = tmp_path / "out.jsonl.gz"

    build_game24.write(build_game24.rows(samples, tasks), out)

    packaged = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert [(row["rank"], row["model"]) for row in packaged] == [
        (6, "gpt-4-io"),
        (6, "gpt-4-cot"),
        (8, "gpt-4-io"),
        (8, "gpt-4-cot"),
    ]
    assert packaged[2]["samples"] == [{"text": "1+2", "input_tokens": 200, "output_tokens": 5}]
    assert [sample["output_tokens"] for sample in packaged[3]["samples"]] == [6, 5]
    assert Recordings.load(out).problems == (game24.problem("1 2 3 3"), game24.problem("1 2 3 1"))
