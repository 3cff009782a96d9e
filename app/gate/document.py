"""A model as a JSON document and back: what is shipped, stored and told apart by its version.

Groups only ever add a constant, which is how they are fitted. Numbers have seven digits, more than
any label can tell.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from app.errors import GatewayError
from app.gate.heads import Heads, Model, OpinionHeads, Scale
from app.gate.logistic import Array
from app.gate.signals import NAMES
from app.gate.weights import Addition, Weights

FORMAT: Final = 1
DIGITS: Final = 7


class UnreadableWeights(GatewayError):
    """The document is not one of weights, or of features that this version does not see."""


def document_of(model: Model) -> dict[str, Any]:
    """The document of a model; its version is not the model's own but told by its content."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "features": list(NAMES),
        "centre": _numbers(model.scale.centre),
        "spread": _numbers(model.scale.spread),
        "heads": _heads(model.heads),
        "opinions": {
            name: {
                "agrees": _weights(heads.agrees),
                "agreed": _heads(heads.agreed),
                "differed": _heads(heads.differed),
            }
            for name, heads in sorted(model.opinions.items())
        },
        "strong_log_cost": _weights(model.strong_log_cost),
        "strong_smear": _number(model.strong_smear),
    }
    said = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(said.encode()).hexdigest()
    return {"version": f"g{digest[:8]}"} | document


def model_from(document: Mapping[str, Any]) -> Model:
    """The model of a document, whatever else it says beside. Raises UnreadableWeights."""
    try:
        if document["format"] != FORMAT or tuple(document["features"]) != NAMES:
            raise UnreadableWeights("these weights are for features of another version")
        return Model(
            version=str(document["version"]),
            scale=Scale(_array(document["centre"]), _array(document["spread"])),
            heads=_heads_from(document["heads"]),
            opinions={
                name: OpinionHeads(
                    agrees=_weights_from(said["agrees"]),
                    agreed=_heads_from(said["agreed"]),
                    differed=_heads_from(said["differed"]),
                )
                for name, said in document["opinions"].items()
            },
            strong_log_cost=_weights_from(document["strong_log_cost"]),
            strong_smear=float(document["strong_smear"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableWeights(f"this is no document of weights: {error!r}") from error


def named(model: Model) -> Model:
    """The model under the version that its content gives it."""
    return replace(model, version=document_of(model)["version"])


def _heads(heads: Heads) -> dict[str, Any]:
    search = None if heads.search is None else _weights(heads.search)
    return {"cheap": _weights(heads.cheap), "strong": _weights(heads.strong), "search": search}


def _heads_from(said: Mapping[str, Any]) -> Heads:
    search = said["search"]
    return Heads(
        cheap=_weights_from(said["cheap"]),
        strong=_weights_from(said["strong"]),
        search=None if search is None else _weights_from(search),
    )


def _weights(weights: Weights) -> dict[str, Any]:
    return {
        "shared": _numbers(weights.shared),
        "labels": weights.labels,
        "groups": {
            group: {"adds": _number(float(added.weights[0])), "labels": added.labels}
            for group, added in sorted(weights.additions.items())
        },
    }


def _weights_from(said: Mapping[str, Any]) -> Weights:
    shared = _array(said["shared"])
    additions: dict[str, Addition] = {}
    for group, added in said["groups"].items():
        adds = np.zeros_like(shared)
        adds[0] = added["adds"]
        additions[group] = Addition(adds, int(added["labels"]))
    return Weights(shared, additions, int(said["labels"]))


def _numbers(values: Array) -> list[float]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _array(values: Sequence[float]) -> Array:
    found = np.array(values, dtype=np.float64)
    if found.shape != (len(NAMES),) or not np.isfinite(found).all():
        raise ValueError("a vector of weights has one finite number a feature")
    return found
