"""Recorded outputs of many models, made into what a replayed gateway needs.

    recordings.jsonl.gz    every sample of every model, for the `replay` provider, with its score
    tasks.jsonl            problems that all models answered; evaluators as asked for
    tasks-final.jsonl      the same, where the evaluator only grades and no strategy sees it
    fathom.toml            the experts at their prices, and a policy

Of the answers only what was read out of them is recorded; it stands where the text would.
"""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.errors import InvalidRequest
from app.evaluation.recorded import read_rows

Row = Mapping[str, Any]
Json = dict[str, Any]

FRAME_TOKENS: Final = 16
"""What the gateway allows around a message, beside its text, when it bounds a prompt."""


@dataclass(frozen=True, slots=True)
class RecordedSet:
    """A set of recordings: its files, its level, and its models, the most useful first.

    The first three are the cheap one, the strong one, and the second opinion. Of those that `hide`
    their reasoning the recorded tokens are far too few.
    """

    files: str
    level: str
    models: tuple[str, ...]
    hide: frozenset[str]


SETS: Final[Mapping[str, RecordedSet]] = {
    "rg-easy": RecordedSet(
        files="rg",
        level="easy",
        models=(
            "llama-4-maverick",
            "claude-sonnet-4",
            "mistral-small-3.1-24b",
            "llama-3.3-70b-instruct",
            "gemma-3-27b-it",
            "llama-4-scout",
            "claude-3.5-sonnet",
            "qwq-32b",
            "deepseek-r1",
            "o3-mini",
        ),
        hide=frozenset({"qwq-32b", "deepseek-r1", "o3-mini"}),
    )
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of a set: the first `models` of it, and `limit` problems (None: all).

    `reasoning_tokens` are added to every answer of a model that hid its reasoning: an assumption.
    `output_tokens_max` is the ceiling of every expert; longer answers are cut, as live ones are.
    """

    models: int
    limit: int | None
    evaluator: str
    reasoning_tokens: int
    output_tokens_max: int


@dataclass(frozen=True, slots=True)
class Made:
    """What was written: the problems, the models, and the share of answers that will be cut."""

    problems: int
    models: Sequence[str]
    assumed: Sequence[str]
    cut: Mapping[str, float]


def make_replayable(folder: Path, known: RecordedSet, wanted: Wanted, out: Path) -> Made:
    """Write the files into `out`. Raises InvalidRequest where the folder is not as described."""
    models = known.models[: wanted.models]
    try:
        prices = json.loads((folder / "prices.json").read_text("utf-8"))
        rows = read_rows(folder / f"{known.files}_samples.parquet")
        problems = _problems(folder / f"{known.files}_problems.jsonl.gz", known.level)
        samples = _samples(rows, known, models, problems, wanted)
        out.mkdir(parents=True, exist_ok=True)
        _write_recordings(out / "recordings.jsonl.gz", samples, problems)
        _write_tasks(out, [problems[problem_id] for problem_id in samples], wanted)
        templates = {model: _template_tokens(model, samples, problems) for model in models}
        ceiling = wanted.output_tokens_max
        configuration = _configuration(out, prices, templates, output_tokens_max=ceiling)
        (out / "fathom.toml").write_text(configuration, "utf-8")
    except FileNotFoundError as error:
        raise InvalidRequest("data", f"there is no {error.filename}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("data", f"not as described: {error!r}") from None
    hidden = [model for model in models if model in known.hide]
    return Made(len(samples), models, hidden, _cut(models, samples, wanted))


def _problems(path: Path, level: str) -> Mapping[str, Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["problem_id"]: row for row in rows if row["level"] == level}


Samples = Mapping[str, Mapping[str, Sequence[Json]]]
"""By problem, in the order of the tasks, and model: what `recordings.py` calls samples."""


def _samples(
    rows: Iterable[Row],
    known: RecordedSet,
    models: Sequence[str],
    problems: Mapping[str, Row],
    wanted: Wanted,
) -> Samples:
    found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["level"] == known.level and row["model"] in known.models:
            found[row["problem_id"]][row["model"]].append(row)
    # The same problems however many models are taken, so that those figures can be compared; in an
    # order that mixes the kinds of problems, and is no one's choice.
    ids = [name for name in found if name in problems and len(found[name]) == len(known.models)]
    ids.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    return {
        name: {
            model: _in_order(found[name][model], extra=_extra(model, known, wanted))
            for model in models
        }
        for name in ids[: wanted.limit]
    }


def _extra(model: str, known: RecordedSet, wanted: Wanted) -> int:
    return wanted.reasoning_tokens if model in known.hide else 0


def _in_order(rows: Sequence[Row], *, extra: int) -> list[Json]:
    samples: list[Json] = []
    texts: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: int(row["sample_idx"])):
        score = 1.0 if row["correct"] else float(row["score"])
        text = _text(row)
        # The verifier read the whole text: two that say the same may have scored differently. White
        # space, which no reader of answers minds, tells them apart.
        while texts.setdefault(text, score) != score:
            text += "\n"
        samples.append(
            {
                "text": text,
                "input_tokens": int(row["prompt_tokens"]),
                "output_tokens": int(row["completion_tokens"]) + extra,
                "score": score,
            }
        )
    return samples


def _text(row: Row) -> str:
    answer = row["answer"]
    if answer is None:
        return ""
    # Of a long answer only the beginning is recorded; its hash tells whether two are the same.
    mark = "" if row["ans_chars"] <= len(answer) else f" {row['answer_hash']}"
    return f"<answer>{answer}{mark}</answer>"


def _write_recordings(path: Path, samples: Samples, problems: Mapping[str, Row]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        for problem_id, by_model in samples.items():
            for model, recorded in by_model.items():
                row = {"problem": problems[problem_id]["question"], "model": model}
                file.write(json.dumps(row | {"samples": recorded}) + "\n")


def _write_tasks(out: Path, problems: Sequence[Row], wanted: Wanted) -> None:
    for name, visibility in (("tasks.jsonl", "search"), ("tasks-final.jsonl", "final")):
        lines = [json.dumps(_task(row, wanted.evaluator, visibility)) for row in problems]
        (out / name).write_text("\n".join(lines) + "\n", "utf-8")


def _task(row: Row, evaluator: str, visibility: str) -> Json:
    spec: Json = {"type": evaluator, "visibility": visibility}
    if evaluator == "exact":
        spec["config"] = {"expected": str(row["expected"])}
    return {
        "id": row["problem_id"],
        "input": row["question"],
        "evaluators": [spec],
        "category": row["category"],
        "metadata": {"task": row["task"]},
        "answer": {"extract": "tag"},
    }


def _configuration(
    out: Path,
    prices: Mapping[str, Sequence[float]],
    templates: Mapping[str, int],
    *,
    output_tokens_max: int,
) -> str:
    """`templates` are the tokens beside a question, by model."""
    recordings = json.dumps(str((out / "recordings.jsonl.gz").resolve()))
    parts = [
        "# Recorded answers at the prices of prices.json. No key, no network.",
        f'[providers.recorded]\nkind = "replay"\nrecordings = {recordings}',
    ]
    for model, template_tokens in templates.items():
        rate_in, rate_out = prices[model]
        parts.append(
            f"[experts.{json.dumps(model)}]\n"
            f'provider = "recorded"\nmodel = {json.dumps(model)}\n'
            f"max_output_tokens = {output_tokens_max}\n"
            f"template_tokens = {template_tokens}\n"
            f'input_usd_per_mtok = "{rate_in}"\noutput_usd_per_mtok = "{rate_out}"'
        )
    models = list(templates)
    cheap, strong, second = models[0], models[min(1, len(models) - 1)], models[2 % len(models)]
    parts.append(
        f"[policies.default]\ndefault_expert = {json.dumps(cheap)}\n"
        f"second_opinion_expert = {json.dumps(second)}\nstrong_expert = {json.dumps(strong)}\n"
        f"search_experts = {json.dumps(models)}"
    )
    return "\n\n".join(parts) + "\n"


def _template_tokens(model: str, samples: Samples, problems: Mapping[str, Row]) -> int:
    """What was sent beside the question, so that the bound on every recorded prompt holds."""
    beside = 0
    for problem_id, by_model in samples.items():
        size = len(str(problems[problem_id]["question"]).encode())
        prompt = max(sample["input_tokens"] for sample in by_model[model])
        beside = max(beside, prompt - size - FRAME_TOKENS)
    return beside


def _cut(models: Sequence[str], samples: Samples, wanted: Wanted) -> Mapping[str, float]:
    lengths = {
        model: [one["output_tokens"] for recorded in samples.values() for one in recorded[model]]
        for model in models
    }
    return {
        model: sum(length > wanted.output_tokens_max for length in found) / len(found)
        for model, found in lengths.items()
    }
