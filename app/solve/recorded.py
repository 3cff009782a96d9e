"""Who has scores for the evaluator `recorded`: providers of recordings, of their own answers."""

from collections.abc import Mapping, Sequence

from app.errors import InvalidRequest
from app.evaluators.specs import RecordedSpec
from app.providers.completion import Provider
from app.providers.replay import ReplayProvider
from app.solve.attempt import Reply
from app.solve.request import SolveRequest
from app.tenants.policy import Expert


def recorded_score(
    reply: Reply, request: SolveRequest, providers: Mapping[str, Provider]
) -> float | None:
    """The score that a reply was recorded with; None where it was not, or had none."""
    expert = reply.seat.expert
    provider = providers.get(expert.provider)
    if not isinstance(provider, ReplayProvider):
        return None
    return provider.score(
        reply.completion.text,
        problem=request.problem,
        model=expert.model,
        op=reply.op,
        seed=request.seed,
    )


def refuse_unrecorded(
    request: SolveRequest, experts: Sequence[Expert], providers: Mapping[str, Provider]
) -> None:
    """Raise InvalidRequest where recorded scores are wanted of an expert that answers anew."""
    asked = () if request.panel is None else request.panel.evaluators
    for index, spec in enumerate(asked):
        if not isinstance(spec, RecordedSpec):
            continue
        for expert in experts:
            if not isinstance(providers[expert.provider], ReplayProvider):
                raise InvalidRequest(
                    f"evaluators.{index}.type",
                    f"scores recorded answers only, and those of {expert.name!r} are not; name "
                    "experts that are recorded, or another evaluator",
                )
