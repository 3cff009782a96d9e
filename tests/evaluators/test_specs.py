"""The schema that callers see, the form that is stored, and what is refused already there."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.evaluators.build import build
from app.evaluators.evaluation import Evaluator
from app.evaluators.specs import Combine, EvaluatorSpec, PanelSpec, is_decisive

SPEC: TypeAdapter[EvaluatorSpec] = TypeAdapter(EvaluatorSpec)

LEAST: dict[str, dict[str, Any]] = {
    "exact": {"expected": "Paris"},
    "expression": {"numbers": [4, "4", 6, 8], "target": 24},
    "numeric": {"expected": "0.50"},
    "choice": {"expected": "B"},
    "json_schema": {"schema": {"type": "object"}},
    "recorded": {},
}


def spec(kind: str, **changes: object) -> EvaluatorSpec:
    """The least that a caller must write, with changes."""
    return SPEC.validate_python({"type": kind, "config": LEAST[kind], **changes})


@pytest.mark.parametrize("kind", LEAST)
def test_the_least_spec_has_the_documented_defaults(kind: str) -> None:
    """And builds an evaluator."""
    least = spec(kind)
    assert (least.id, least.weight, least.required, least.pass_score) == (kind, 1.0, False, None)
    evaluator: Evaluator = build(least)
    assert evaluator is not None


@pytest.mark.parametrize("kind", LEAST)
def test_a_stored_spec_comes_back_as_it_was(kind: str) -> None:
    """Through JSON, under the names that callers use."""
    panel = PanelSpec(evaluators=(spec(kind, id="x", weight=2, pass_score=0.5),))
    stored = panel.model_dump(mode="json")
    assert PanelSpec.model_validate(stored) == panel
    assert PanelSpec.model_validate_json(panel.model_dump_json()) == panel
    assert stored["evaluators"][0]["config"].keys() >= LEAST[kind].keys()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("exact", {"type": "regex"}),
        ("exact", {"surprise": 1}),
        ("exact", {"weight": 0}),
        ("exact", {"weight": float("inf")}),
        ("exact", {"pass_score": 1.5}),
        ("exact", {"id": ""}),
        ("exact", {"config": {"expected": []}}),
        ("exact", {"config": {"expected": "x", "surprise": 1}}),
        ("expression", {"config": {"numbers": [], "target": 24}}),
        ("expression", {"config": {"numbers": [-1], "target": 24}}),
        ("expression", {"config": {"numbers": [0.5], "target": 24}}),
        ("expression", {"config": {"numbers": ["1e9"], "target": 24}}),
        ("expression", {"config": {"numbers": [1], "target": 24, "operators": "^"}}),
        ("numeric", {"config": {"expected": "NaN"}}),
        ("numeric", {"config": {"expected": "1", "abs_tol": "-1"}}),
        ("choice", {"config": {"expected": "BB"}}),
        ("json_schema", {"config": {"schema": True}}),
        ("recorded", {"config": {"model": "m"}}),
    ],
)
def test_malformed_specs_are_refused(kind: str, changes: dict[str, object]) -> None:
    """Unknown fields and values out of range among them."""
    with pytest.raises(ValidationError):
        spec(kind, **changes)


def test_the_published_schema_describes_each_type_and_field() -> None:
    """A caller can write a spec from the schema alone."""
    published = PanelSpec.model_json_schema()
    mapping = published["$defs"]["ExactSpec"]["properties"]
    assert {"type", "id", "weight", "required", "pass_score", "config"} == mapping.keys()
    configs = {name: part for name, part in published["$defs"].items() if name.endswith("Config")}
    assert len(configs) == len(LEAST)
    for config in configs.values():
        assert all("description" in part for part in config["properties"].values())
    assert "schema" in configs["JsonSchemaConfig"]["properties"]


def test_form_alone_decides_nothing() -> None:
    """A full score of json_schema says that the answer is well formed, not that it is right."""
    assert {kind for kind in LEAST if is_decisive(spec(kind))} == LEAST.keys() - {"json_schema"}


@pytest.mark.parametrize(
    ("kinds", "combine", "decisive"),
    [
        (["json_schema"], Combine.ALL, False),
        (["json_schema", "exact"], Combine.WEIGHTED, True),
        (["json_schema", "exact"], Combine.CASCADE, True),
        (["json_schema", "exact"], Combine.ANY, False),
        (["numeric", "exact"], Combine.ANY, True),
    ],
)
def test_a_panel_decides_when_its_full_score_needs_a_verifier(
    kinds: list[str], combine: Combine, *, decisive: bool
) -> None:
    """With `any`, every member must be one."""
    panel = PanelSpec(evaluators=tuple(spec(kind) for kind in kinds), combine=combine)
    assert panel.is_decisive == decisive
