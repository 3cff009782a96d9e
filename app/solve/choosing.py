"""Which answer is returned where nothing has scored them, and how sure it is. Pure.

By posterior over all answers in hand, never blindly the strong one. What it rests on is in the
journal and the decision, so that a replay chooses the same.
"""

from typing import Final

from app.gate.gate import Route
from app.gate.posterior import posterior
from app.solve.attempt import FIRST, STRONG
from app.solve.run import Answer, Run

SECOND: Final = "gate.second"

DIFFERED: Final = (0.35, 0.6)
"""P(right) of the cheap and the strong arm where nothing was learned: as good a belief as any of
pairs of models of which the dearer is the better one. It chooses, and no confidence is told of it.
"""


def choose(run: Run, strong: Answer) -> Answer:
    """After a strong call: the answer that is most likely right, the first to say it.

    A score outranks any vote; an answer that is unreadable or cut short has none, and is the last
    choice.
    """
    if run.panel is not None:
        return run.best or strong
    chances = beliefs(run) or _weighed(run, *DIFFERED)
    if not chances:
        return strong
    # Of equals the strong one, which is asked last.
    likeliest = max(reversed(chances), key=lambda said: chances[said])
    return next(answer for answer in run.answers if answer.said == likeliest)


def confidence(run: Run, best: Answer | None) -> float | None:
    """P(right) of the answer that is returned; None where nothing tells, for none is made up.

    A decisive evaluator settles it; else it is as likely right as the gate has learned.
    """
    panel, made = run.request.panel, run.decision
    if best is None:
        return None
    if panel is not None and panel.is_decisive and best.score is not None:
        return 1.0 if best.score >= run.request.search.target_score else 0.0
    if made is None or made.route not in (Route.SINGLE, Route.STRONG):
        return None
    if best.said is not None:
        found = (beliefs(run) or {}).get(best.said)
        return None if found is None else round(found, 4)
    return made.p_alternative if best.reply.op == STRONG else made.p_single


def is_low(run: Run, sure: float | None) -> bool | None:
    """Whether an answer of this confidence is of a low one; None where nothing tells."""
    return None if sure is None else sure < run.plan.confidence_min


def beliefs(run: Run) -> dict[str, float] | None:
    """P(right) by what is said; None where nothing was learned."""
    made = run.decision
    if made is None or made.p_single is None or made.p_alternative is None:
        return None
    return _weighed(run, made.p_single, made.p_alternative)


def _weighed(run: Run, p_cheap: float, p_strong: float) -> dict[str, float]:
    said = {answer.reply.op: answer.said for answer in run.answers}
    return posterior(
        first=said.get(FIRST),
        second=said.get(SECOND),
        strong=said.get(STRONG),
        p_cheap=p_cheap,
        p_strong=p_strong,
    )
