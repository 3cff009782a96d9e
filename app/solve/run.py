"""What the steps of one run share: the request, its plan, its meter, and the answers so far.

The answers outlive whatever stops the run, so that a deadline, a budget or a failing provider still
leaves the best answer that was paid for.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from app.answers.canonical import canonical
from app.answers.extract import extract
from app.evaluators.evaluation import Candidate
from app.evaluators.panel import Panel, PanelEvaluation
from app.gate.audited import Certified
from app.gate.gate import Route
from app.gate.stack import Stack
from app.ledger.openings import Claim
from app.money import NanoUSD
from app.providers.completion import FinishReason, Provider
from app.search.selection import Scored, select
from app.solve.agreement import leaders
from app.solve.attempt import Attempts, Reply
from app.solve.deliberation import Deliberation, round_of
from app.solve.engine import Engine
from app.solve.legacy import Legacy
from app.solve.meter import Meter
from app.solve.plan import Plan, Seat
from app.solve.prompts import fresh
from app.solve.recorded import recorded_score
from app.solve.request import SolveRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, the answer read from it (None: unreadable), and what the evaluators made of it."""

    reply: Reply
    answer: str | None
    evaluation: PanelEvaluation | None = None
    node: int | None = None

    @property
    def text(self) -> str:
        """The whole reply."""
        return self.reply.completion.text

    @property
    def well_formed(self) -> bool:
        """Whether the reply was not cut short and an answer could be read from it."""
        return self.answer is not None and self.reply.completion.finish_reason is FinishReason.STOP

    @property
    def said(self) -> str | None:
        """The answer in canonical spelling; None if it could not be read, or was cut short."""
        return canonical(self.answer) if self.answer is not None and self.well_formed else None

    @property
    def score(self) -> float | None:
        """In [0, 1]; None where nothing scored it."""
        return None if self.evaluation is None else self.evaluation.score


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate decided, and why, in words a caller can read.

    The chances that the cheap answer and its best alternative are right, and what the arm taken is
    expected to gain, are None where nothing was learned; `propensity` is how likely it was taken.
    `certificate` is what stands for answers that are accepted as this one was.
    """

    route: Route
    reason: str
    because: Sequence[str]
    gate_version: str | None = None
    opinion_bought: bool = False
    opinion_agrees: bool | None = None
    p_single: float | None = None
    p_alternative: float | None = None
    gain: NanoUSD | None = None
    propensity: float = 1.0
    certificate: Certified | None = None


@dataclass(slots=True)
class Run:
    """One run of a solve. `chosen` is set where the route itself picks the answer.

    `legacy` is what it took over from the solve that it resumes; `providers` are asked for recorded
    scores alone; `model` is the weights that the plan's gate names.
    """

    claim: Claim
    request: SolveRequest
    plan: Plan
    meter: Meter
    attempts: Attempts
    panel: Panel | None
    started_at_s: float
    answers: list[Answer] = field(default_factory=list[Answer])
    decision: Decision | None = None
    chosen: Answer | None = None
    search: Engine | None = None
    gate_ms: float | None = None
    search_ms: float | None = None
    is_cancelled: bool = False
    legacy: Legacy | None = None
    providers: Mapping[str, Provider] = field(default_factory=dict[str, Provider])
    model: Stack | None = None
    _time: asyncio.Timeout | None = field(default=None, init=False)

    @property
    def is_detached(self) -> bool:
        """Whether no client waits for it here, so that another process may as well go on."""
        return self.request.background or self.claim.token > 1

    def cancel(self) -> None:
        """End it now, its calls in flight cut short; harmless once it has ended."""
        self.is_cancelled = True
        if self._time is not None and not self._time.expired():
            self._time.reschedule(0)

    @asynccontextmanager
    async def within_its_time(self) -> AsyncGenerator[None]:
        """Raise TimeoutError out of the block at the deadline, or once the run is cancelled."""
        try:
            async with asyncio.timeout(self.plan.deadline_s) as limit:
                self._time = limit
                yield
        finally:
            self._time = None

    async def ask(self, op: str, seat: Seat) -> Answer:
        """A fresh answer from a seat, evaluated, and kept among the answers."""
        reply = await self.attempts.complete(op, seat, fresh(self.request, seat.expert))
        answer = await self.evaluate(reply)
        self.answers.append(answer)
        return answer

    async def evaluate(self, reply: Reply) -> Answer:
        """Read the answer out of a reply and score it, if there is anything to score it with."""
        return await evaluated(reply, self.request, self.panel, self.providers)

    def take_late(self) -> Sequence[Answer]:
        """Add the answers that were paid for as the time ended; there is none to score them."""
        taken = {answer.reply.op for answer in self.answers}
        late = [
            Answer(reply, extract(reply.completion.text, self.request.extract))
            for op, reply in self.attempts.replies.items()
            if op not in taken
        ]
        self.answers += late
        return late

    @property
    def best(self) -> Answer | None:
        """The answer to return if the run ended now."""
        if self.chosen is not None:
            return self.chosen
        # An answer that was cut short is the last choice among its equals.
        answers = sorted(self.answers, key=lambda answer: not answer.well_formed)
        scored = [(answer, answer.score) for answer in answers if answer.score is not None]
        if not scored and isinstance(self.search, Deliberation):
            return voted(answers)
        if not scored:
            return next(iter(answers), None)
        candidates = [Scored(_meant(answer), score) for answer, score in scored]
        return scored[select(candidates, noisy=self.plan.score_noise > 0)][0]


def voted(answers: Sequence[Answer]) -> Answer | None:
    """What most answers of a deliberation's latest round say, of rounds with a readable answer."""
    rounds: dict[int, list[Answer]] = {}
    for answer in answers:
        rounds.setdefault(round_of(answer.reply.op), []).append(answer)
    for number in sorted(rounds, reverse=True):
        if alike := leaders([answer.said for answer in rounds[number]]):
            return rounds[number][alike[0]]
    return next(iter(answers), None)


async def evaluated(
    reply: Reply,
    request: SolveRequest,
    panel: Panel | None,
    providers: Mapping[str, Provider],
) -> Answer:
    """The answer in a reply, scored if there is anything to score it with."""
    text = reply.completion.text
    answer = extract(text, request.extract)
    if panel is None:
        return Answer(reply, answer)
    score = recorded_score(reply, request, providers)
    candidate = Candidate(request.problem, text, answer, score)
    return Answer(reply, answer, await panel.evaluate(candidate))


def _meant(answer: Answer) -> str | None:
    return None if answer.answer is None else canonical(answer.answer)
