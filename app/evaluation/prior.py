"""The weights that Fathom ships: fitted on recordings of several pairs, with features of requests.

A tenant's models are none of the recorded ones, so all pairs are fitted as if they were one, every
first opinion is "second", and categories are those that the gate infers from a problem's words.
Counts that the recordings define otherwise than the gate does are left at nothing, and get no
weight. All of it is worth as much as 50 labels.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.errors import InvalidRequest
from app.evaluation.figures import auroc, calibration_error, curve
from app.evaluation.ladder import FILES, read_climbs, search_examples
from app.evaluation.recorded import PAIRS, Pair, Recording, read_pair
from app.evaluation.replay import ends, foretold, opinion_ratios, play
from app.gate.category import inferred
from app.gate.fitting import Example, fit_model
from app.gate.heads import Heads, Model
from app.gate.logistic import Array
from app.gate.signals import NAMES
from app.gate.weights import HALF_TRUST, Weights

SECOND: Final = "second"
"""The opinion that a policy has."""

FITTED: Final = 60
"""Percent of the problems, by a hash of their id."""

NOT_SHARED: Final = (
    "tagged",
    "truncated",
    "log_hedges",
    "log_backtracks",
    "zlib_ratio",
    "hedges_a_token",
    "backtracks_a_token",
)
"""Recorded by another definition than that of `gate/text.py`, or not at all."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shipped:
    """The weights, and what they come to on problems that they were not fitted on, by pair."""

    model: Model
    figures: Figures


def fit_shipped(folder: Path) -> Shipped:
    """Fitted on one part of the folder's problems, judged on the other.

    Raises InvalidRequest where a file is not there or not as described.
    """
    texts: dict[str, str] = {}
    for files in sorted({pair.files for pair in PAIRS.values()} | {FILES}):
        texts |= _problems(folder / f"{files}_problems.jsonl.gz")
    read = {
        name: _as_requested(read_pair(folder, pair), pair, texts) for name, pair in PAIRS.items()
    }
    climbs = [
        replace(one, features=_shared(one.features), groups=_groups(texts, one.problem_id))
        for one in read_climbs(folder)
    ]
    examples = [
        one.example for found in read.values() for one in found if is_fitted(one.problem_id)
    ]
    fitted = fit_model(examples, version="prior")
    searched = search_examples([one for one in climbs if is_fitted(one.problem_id)])
    model = _weighed(fitted, _search_head(fitted, searched))
    kept = {
        name: _judged(model, [one for one in found if is_fitted(one.problem_id)],
                      [one for one in found if not is_fitted(one.problem_id)])
        for name, found in read.items()
    }  # fmt: skip
    judged = search_examples([one for one in climbs if not is_fitted(one.problem_id)])
    kept["search"] = _search_figures(model, judged)
    return Shipped(model, kept)


def is_fitted(problem_id: str) -> bool:
    """Whether the problem is in the part that is fitted on."""
    digest = hashlib.sha256(f"shipped:{problem_id}".encode()).digest()
    return int.from_bytes(digest[:8]) % 100 < FITTED


def _problems(path: Path) -> dict[str, str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return {row["problem_id"]: _asked(row) for row in rows}
    except FileNotFoundError as error:
        raise InvalidRequest("data", f"there is no {error.filename}") from None
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InvalidRequest("data", f"{path.name}: not as described: {error!r}") from None


def _asked(row: Mapping[str, Any]) -> str:
    """The problem as a caller would put it: options stand behind letters."""
    options: Sequence[str] = row.get("options") or ()
    letters = (f"{chr(ord('A') + place)}. {option}" for place, option in enumerate(options))
    return "\n".join((str(row.get("question") or ""), *letters))


def _as_requested(
    found: Sequence[Recording], pair: Pair, texts: Mapping[str, str]
) -> list[Recording]:
    opinion = pair.opinions[0].name
    renamed: list[Recording] = []
    for one in found:
        agreed, costs = one.example.agreed, one.opinion_costs
        example = replace(
            one.example,
            features=_shared(one.example.features),
            groups=_groups(texts, one.problem_id),
            agreed={SECOND: agreed[opinion]} if opinion in agreed else {},
        )
        cost = {SECOND: costs[opinion]} if opinion in costs else {}
        renamed.append(replace(one, example=example, opinion_costs=cost))
    return renamed


def _groups(texts: Mapping[str, str], problem_id: str) -> tuple[str, ...]:
    category = inferred(texts[problem_id])
    return () if category is None else (category,)


def _shared(features: Array) -> Array:
    kept = features.copy()
    kept[[NAMES.index(name) for name in NOT_SHARED]] = 0.0
    return kept


def _search_head(fitted: Model, examples: Sequence[Example]) -> Weights:
    """P(search solves), in the scale of the other heads."""
    scaled = [
        replace(one, features=fitted.scale.standard(one.features)) for one in examples
    ]  # a second standardisation would be undone by none
    found = fit_model(scaled, version="search")
    head = found.heads.search
    assert head is not None, "every climb has its outcome"
    # w . (x - centre) / spread, in terms of x.
    shared = head.shared / found.scale.spread
    shared[0] = head.shared[0] - float(
        (head.shared[1:] / found.scale.spread[1:]) @ found.scale.centre[1:]
    )
    return replace(head, shared=shared)


def _weighed(model: Model, search: Weights) -> Model:
    def worth(weights: Weights) -> Weights:
        return replace(weights, labels=HALF_TRUST)

    def heads(found: Heads, search: Weights | None) -> Heads:
        return Heads(worth(found.cheap), worth(found.strong), search)

    opinions = {
        name: replace(
            one,
            agrees=worth(one.agrees),
            agreed=heads(one.agreed, None),
            differed=heads(one.differed, None),
        )
        for name, one in model.opinions.items()
    }
    return replace(model, heads=heads(model.heads, worth(search)), opinions=opinions)


def _judged(model: Model, fitted: Sequence[Recording], kept: Sequence[Recording]) -> Figures:
    known = foretold(
        model, kept, ratios=opinion_ratios(model, fitted), labels=model.heads.cheap.labels
    )
    both = ends(kept)
    chances = np.array([forecast.chances.cheap for forecast in known])
    line = curve(play(kept, known).sweep, both, np.ones(len(kept)))
    return {
        "problems": len(kept),
        "auroc": _rounded(auroc(chances, both.cheap_right)),
        "ece": _rounded(calibration_error(chances, both.cheap_right)),
        "cost_to_recover_80": None if line is None else _rounded(line.cost_to_recover(0.8)),
    }


def _search_figures(model: Model, kept: Sequence[Example]) -> Figures:
    chances = np.array(
        [model.chances(model.scale.standard(one.features), one.groups).search for one in kept]
    )
    labels = np.array([one.search_right for one in kept])
    return {
        "problems": len(kept),
        "auroc": _rounded(auroc(chances, labels)),
        "ece": _rounded(calibration_error(chances, labels)),
    }


def _rounded(figure: float) -> float:
    return round(figure, 4)
