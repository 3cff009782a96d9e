"""Every score that a panel can give is on the grid that it states."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluators.evaluation import Candidate
from app.evaluators.panel import Panel
from app.evaluators.scale import FINE, Scale, one_of, parts_of, staged, weighted
from app.evaluators.specs import Combine, EvaluatorSpec, ExactSpec, PanelSpec
from tests.evaluators.test_specs import LEAST, spec

counts = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def equals(text: str, weight: float) -> EvaluatorSpec:
    """An evaluator that one answer alone satisfies."""
    return ExactSpec.model_validate(
        {"type": "exact", "id": text, "weight": weight, "config": {"expected": text}}
    )


@pytest.mark.parametrize("combine", Combine)
@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (1.0, 2.0), (0.5, 0.3, 0.2)])
async def test_scores_of_a_panel_are_on_its_grid(
    combine: Combine, weights: tuple[float, ...]
) -> None:
    """Whichever of its evaluators an answer satisfies."""
    specs = [equals(text, weight) for text, weight in zip("abc", weights, strict=False)]
    step = PanelSpec(evaluators=tuple(specs), combine=combine).scale.step
    assert step > FINE
    panel = Panel(specs, combine)
    for text in "abcd":
        verdict = await panel.evaluate(Candidate("", text, text))
        assert verdict.score is not None
        parts = verdict.score / float(step)
        assert parts == pytest.approx(round(parts))


@given(counts=counts, picks=st.lists(st.integers(0, 12), min_size=4, max_size=4))
def test_combined_scores_that_are_k_of_n(counts: list[int], picks: list[int]) -> None:
    """Means, the least, the greatest and stages are multiples of the combined step, or fine."""
    scales = [parts_of(count) for count in counts]
    scores = [Fraction(min(k, n), n) for k, n in zip(picks, counts, strict=False)]
    for combined, scale in [
        (sum(scores, Fraction(0)) / len(scores), weighted(scales, [1.0] * len(scales))),
        (min(scores), one_of(scales)),
        (max(scores), one_of(scales)),
        *[((p + scores[p]) / len(scores), staged(scales)) for p in range(len(scores))],
    ]:
        assert scale.step == FINE or (combined / scale.step).denominator == 1


def test_scores_that_may_be_anything_make_a_panel_fine() -> None:
    """As a graded expression beside an exact answer; however fine, no finer than is told apart."""
    specs = tuple(spec(kind) for kind in ("exact", "expression"))
    for combine in Combine:
        assert PanelSpec(evaluators=specs, combine=combine).scale.step == FINE
    assert parts_of(10**6).step == FINE


def test_every_type_of_evaluator_states_its_scale() -> None:
    """None that there is errs."""
    stated = {kind: PanelSpec(evaluators=(spec(kind),)).scale for kind in LEAST}
    graded = {kind for kind, scale in stated.items() if scale.step < 1}
    assert graded == {"expression", "recorded"}
    assert all(scale.noise == 0 for scale in stated.values())


def test_noise_is_averaged_by_weight_and_else_that_of_the_noisiest() -> None:
    """A judge that errs by .1 counts for half of it beside a verifier of the same weight."""
    scales = [Scale(noise=0.1), parts_of(1)]
    assert weighted(scales, [1.0, 1.0]).noise == pytest.approx(0.05)
    assert one_of(scales).noise == 0.1
    assert staged(scales).noise == pytest.approx(0.05)
    assert weighted(scales, [1e-9, 1e-9]).noise == 0.1
