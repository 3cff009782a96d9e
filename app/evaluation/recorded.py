"""Recorded outputs of a cheap and a strong model for the same problems, as the gate would see them.

Reads the folder's Parquet and JSON Lines files; everything after this module is plain values. Texts
of the outputs are not recorded: their counts are, and they stand where the gate's own would.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from app.answers.canonical import equal
from app.errors import GatewayError, InvalidRequest
from app.gate.fitting import Example
from app.gate.signals import Form, Signals, vector
from app.gate.text import TextCounts

Row = Mapping[str, Any]
NANO_PER_MICRO: Final = 1000
"""A price in dollars per million tokens is so many nano-dollars a token."""


class ParquetMissing(GatewayError):
    """The package that reads Parquet is not installed."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """A second answer that was recorded: whose, and how many samples after the first."""

    name: str
    model: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A cheap and a strong model, the second opinions beside them, and the files they are in."""

    name: str
    files: str
    cheap: str
    strong: str
    opinions: tuple[Opinion, ...]
    level: str | None = None


_FLASH: Final = (Opinion("gemini-1.5-flash", "gemini-1.5-flash"),)
_MINI: Final = "gpt-4o-mini-2024-07-18"
PAIRS: Final = {
    pair.name: pair
    for pair in (
        Pair(
            "RG1",
            "rg",
            "llama-4-maverick",
            "claude-sonnet-4",
            (
                Opinion("mistral-small-3.1-24b", "mistral-small-3.1-24b"),
                Opinion("second sample", "llama-4-maverick", offset=1),
            ),
            level="easy",
        ),
        Pair(
            "MP1",
            "mmlupro",
            "gemini-1.5-flash-002",
            "gemini-1.5-pro-002",
            (Opinion("llama-3.1-8b", "Meta-Llama-3_1-8B-Instruct"),),
        ),
        Pair("ZE1", "zeroeval", _MINI, "claude-3-5-sonnet-20241022", _FLASH),
        Pair("ZE2", "zeroeval", _MINI, "gpt-4o-2024-08-06", _FLASH),
    )
}


@dataclass(frozen=True, slots=True)
class Recording:
    """One problem with both arms' first samples. Costs are in nano-dollars.

    `opinion_costs` has the opinions that were recorded for it, as `example.agreed` does.
    """

    problem_id: str
    example: Example
    cheap_cost: float
    opinion_costs: Mapping[str, float]


def read_pair(folder: Path, pair: Pair) -> list[Recording]:
    """The problems of `pair` that both models answered, in the order of their ids.

    Raises InvalidRequest where a file, a column or a price is not there or not as described.
    """
    try:
        prices = json.loads((folder / "prices.json").read_text("utf-8"))
        rows = read_rows(folder / f"{pair.files}_samples.parquet")
        return recordings(pair, rows, prices)
    except FileNotFoundError as error:
        raise InvalidRequest("data", f"there is no {error.filename}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest("data", f"{pair.name}: not as described: {error!r}") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises FileNotFoundError or ParquetMissing."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        # Heavy, and for this command alone; so it is not among what a gateway needs.
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise ParquetMissing(
            "pyarrow is not installed: pip install 'fathom-gateway[train]'"
        ) from None
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def recordings(
    pair: Pair, rows: Iterable[Row], prices: Mapping[str, Sequence[float]]
) -> list[Recording]:
    """As `read_pair`, from rows; prices are dollars per million tokens, in and out, by model."""
    models = {pair.cheap, pair.strong, *(opinion.model for opinion in pair.opinions)}
    samples: dict[str, dict[tuple[str, int], Row]] = defaultdict(dict)
    for row in rows:
        if row["model"] in models and (pair.level is None or row["level"] == pair.level):
            samples[row["problem_id"]][row["model"], row["sample_idx"]] = row
    return [
        _recording(pair, problem_id, samples[problem_id], prices)
        for problem_id in sorted(samples)
        if {(pair.cheap, 0), (pair.strong, 0)} <= samples[problem_id].keys()
    ]


def _recording(
    pair: Pair,
    problem_id: str,
    samples: Mapping[tuple[str, int], Row],
    prices: Mapping[str, Sequence[float]],
) -> Recording:
    cheap, strong = samples[pair.cheap, 0], samples[pair.strong, 0]
    found = {
        opinion.name: samples.get((opinion.model, opinion.offset)) for opinion in pair.opinions
    }
    asked = {name: row for name, row in found.items() if row is not None}
    signals = signals_of(cheap)
    return Recording(
        problem_id=problem_id,
        example=Example(
            features=vector(signals),
            groups=signals.groups,
            cheap_right=float(cheap["correct"]),
            strong_right=float(strong["correct"]),
            strong_cost=cost_of(strong, prices),
            agreed={name: _agree(cheap, row) for name, row in asked.items()},
        ),
        cheap_cost=cost_of(cheap, prices),
        opinion_costs={name: cost_of(row, prices) for name, row in asked.items()},
    )


def signals_of(row: Row) -> Signals:
    """What the gate would have seen of a recorded answer."""
    category, task = row.get("category"), row["task"]
    wide = () if category is None else (f"category {category}",)
    return Signals(
        # What was cut off was not recorded apart from what has no answer.
        form=Form(row["answer"], tagged=bool(row.get("has_answer_tag")), truncated=False),
        text=_counts(row),
        logprobs=None,
        prompt_tokens=row["prompt_tokens"],
        groups=(*wide, f"task {task}"),
    )


def _counts(row: Row) -> TextCounts | None:
    """None where one of them was not recorded: the group is missing, not the problem."""
    names = ("n_chars", "n_lines", "n_hedge", "n_back", "n_digits", "zratio")
    if any(row.get(name) is None for name in names):
        return None
    return TextCounts(
        tokens=row["completion_tokens"],
        chars=row["n_chars"],
        lines=row["n_lines"],
        hedges=row["n_hedge"],
        backtracks=row["n_back"],
        digits=row["n_digits"],
        zlib_ratio=row["zratio"],
    )


def _agree(first: Row, second: Row) -> bool:
    left, right = first["answer"], second["answer"]
    return left is not None and right is not None and equal(left, right)


def cost_of(row: Row, prices: Mapping[str, Sequence[float]]) -> float:
    """Nano-dollars, above 0."""
    rate_in, rate_out = prices[row["model"]]
    cost: float = (
        row["prompt_tokens"] * rate_in + row["completion_tokens"] * rate_out
    ) * NANO_PER_MICRO
    if not cost > 0:
        raise ValueError(f"{row['problem_id']}: a call of {row['model']} that cost nothing")
    return cost
