"""A recorded search, made again: asked and told in the recorded order, from recorded answers.

What was decided by several workers at once is decided here one step after the other, in the order
in which it happened, so that it comes to the same whatever its concurrency was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.errors import GatewayError
from app.search.events import Abandoned, Adopted, Asked, Event, ExpertsSet, Heard, Told
from app.search.search import Search
from app.search.trial import Stop, Trial
from app.solve.engine import Engine, adopt, nodes_of, op_of, takes_unscored, tell
from app.solve.explore import inherited_answer, messages_for
from app.solve.prompts import fingerprint
from app.solve.run import Answer, Run


class ReplayDivergence(GatewayError):
    """What is decided now is not what the record says: a call of it is not there, or differs."""


class Retracing:
    """Makes one search or deliberation again, step by step.

    `prompts` are the hashes of the recorded ones, by op.
    """

    def __init__(self, run: Run, engine: Engine, *, prompts: Mapping[str, str]) -> None:
        self._run, self._engine, self._prompts = run, engine, prompts
        self._seats = {seat.expert.name: seat for seat in run.plan.searchers}
        self._answers: dict[int, Answer] = {}

    async def retrace(self, recorded: Sequence[Event]) -> None:
        """Take every step of the record. Raises ReplayDivergence at the first that differs."""
        legacy = () if self._run.legacy is None else self._run.legacy.replies
        for node, reply in zip(nodes_of(self._engine), legacy, strict=True):
            self._answers[node.id] = answer = await inherited_answer(self._run, reply, node)
            self._run.answers.append(answer)
        for event in recorded[len(self._engine.log) :]:
            await self._step(event)
            if self._engine.log[-1] != event:
                raise ReplayDivergence(f"event {event.seq} of the search comes out differently")

    def stop(self, reason: str) -> Stop:
        """That the search stops here, for the reason it stopped for then."""
        step = self._engine.ask()
        if not isinstance(step, Stop) or step.reason != reason:
            raise ReplayDivergence(f"the search stopped here for {reason}, and now does not")
        return step

    async def _step(self, event: Event) -> None:
        match event:
            case Asked():
                self._ask()
            case Told(trial_id=trial_id) | Heard(trial_id=int(trial_id)):
                await self._tell(trial_id)
            case Abandoned():
                await self._abandon(event)
            case Adopted() | Heard():
                self._adopt()
            case ExpertsSet(experts=experts):
                if isinstance(self._engine, Search):
                    self._engine.set_experts(experts)

    def _ask(self) -> None:
        trial = self._engine.ask()
        if not isinstance(trial, Trial):
            raise ReplayDivergence("the search went on here, and now does not")
        op = op_of(self._engine, trial.id)
        prompt = self._prompts.get(op)
        seat = self._seats[trial.expert]
        messages = messages_for(trial, seat, self._run.request, self._answers)
        if prompt is not None and prompt != fingerprint(messages):
            raise ReplayDivergence(f"{op} asks otherwise than the recorded call")

    async def _tell(self, trial_id: int) -> None:
        op, answer = op_of(self._engine, trial_id), await self._answer(trial_id)
        if answer is None:
            raise ReplayDivergence(f"{op} had an answer, and now has none")
        cost = answer.reply.cost
        node = tell(self._engine, trial_id, answer.score, cost, said=answer.said)
        if node is None:
            raise ReplayDivergence(f"{op} had a score, and now has none")
        self._answers[node] = told = replace(answer, node=node)
        self._run.answers.append(told)

    async def _abandon(self, event: Abandoned) -> None:
        answer = await self._answer(event.trial_id)
        if answer is not None and (answer.score is not None or takes_unscored(self._engine)):
            op = op_of(self._engine, event.trial_id)
            raise ReplayDivergence(f"{op} came to nothing, and now does not")
        if answer is not None:
            self._run.answers.append(answer)
        self._engine.abandon(event.trial_id, event.cost, event.reason)

    def _adopt(self) -> None:
        for place, answer in enumerate(self._run.answers):
            if answer.node is not None:
                continue
            expert, cost = answer.reply.seat.expert.name, answer.reply.cost
            node = adopt(self._engine, expert, answer.score, cost, said=answer.said)
            if node is not None:
                self._run.answers[place] = self._answers[node] = replace(answer, node=node)
                return
        raise ReplayDivergence("the search began with an answer that now is not given")

    async def _answer(self, trial_id: int) -> Answer | None:
        reply = self._run.attempts.replies.get(op_of(self._engine, trial_id))
        return None if reply is None else await self._run.evaluate(reply)
