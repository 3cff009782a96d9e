"""A recorded search, made again: asked and told in the recorded order, from recorded answers.

What was decided by several workers at once is decided here one step after the other, in the order
in which it happened, so that it comes to the same whatever its concurrency was.
"""

from collections.abc import Mapping, Sequence

from app.errors import GatewayError
from app.search.events import Abandoned, Adopted, Asked, Event, ExpertsSet, Told
from app.search.search import Search
from app.search.trial import Stop, Trial
from app.solve.explore import inherited_answer, messages_for
from app.solve.prompts import fingerprint
from app.solve.run import Answer, Run


class ReplayDivergence(GatewayError):
    """What is decided now is not what the record says: a call of it is not there, or differs."""


class Retracing:
    """Makes one search again, step by step; `prompts` are the recorded ones' hashes, by op."""

    def __init__(self, run: Run, search: Search, *, prompts: Mapping[str, str]) -> None:
        self._run, self._search, self._prompts = run, search, prompts
        self._seats = {seat.expert.name: seat for seat in run.plan.searchers}
        self._answers: dict[int, Answer] = {}

    async def retrace(self, recorded: Sequence[Event]) -> None:
        """Take every step of the record. Raises ReplayDivergence at the first that differs."""
        legacy = () if self._run.legacy is None else self._run.legacy.replies
        for node, reply in zip(self._search.nodes, legacy, strict=True):
            self._answers[node.id] = answer = await inherited_answer(self._run, reply, node)
            self._run.answers.append(answer)
        for event in recorded[len(self._search.log) :]:
            await self._step(event)
            if self._search.log[-1] != event:
                raise ReplayDivergence(f"event {event.seq} of the search comes out differently")

    def stop(self, reason: str) -> Stop:
        """That the search stops here, for the reason it stopped for then."""
        step = self._search.ask()
        if not isinstance(step, Stop) or step.reason != reason:
            raise ReplayDivergence(f"the search stopped here for {reason}, and now does not")
        return step

    async def _step(self, event: Event) -> None:
        match event:
            case Asked():
                self._ask()
            case Told(trial_id=trial_id):
                await self._tell(trial_id)
            case Abandoned():
                await self._abandon(event)
            case Adopted():
                self._adopt()
            case ExpertsSet(experts=experts):
                self._search.set_experts(experts)

    def _ask(self) -> None:
        trial = self._search.ask()
        if not isinstance(trial, Trial):
            raise ReplayDivergence("the search went on here, and now does not")
        prompt = self._prompts.get(f"t{trial.id}")
        seat = self._seats[trial.expert]
        messages = messages_for(trial, seat, self._run.request, self._answers)
        if prompt is not None and prompt != fingerprint(messages):
            raise ReplayDivergence(f"t{trial.id} asks otherwise than the recorded call")

    async def _tell(self, trial_id: int) -> None:
        answer = await self._answer(trial_id)
        if answer is None or answer.score is None:
            raise ReplayDivergence(f"t{trial_id} had a score, and now has none")
        node = self._search.tell(trial_id, answer.score, answer.reply.cost)
        self._answers[node] = told = Answer(
            answer.reply, answer.answer, answer.evaluation, node=node
        )
        self._run.answers.append(told)

    async def _abandon(self, event: Abandoned) -> None:
        answer = await self._answer(event.trial_id)
        if answer is not None and answer.score is not None:
            raise ReplayDivergence(f"t{event.trial_id} had no score, and now has one")
        if answer is not None:
            self._run.answers.append(answer)
        self._search.abandon(event.trial_id, event.cost, event.reason)

    def _adopt(self) -> None:
        for place, answer in enumerate(self._run.answers):
            if answer.score is not None and answer.node is None:
                expert, cost = answer.reply.seat.expert.name, answer.reply.cost
                node = self._search.adopt(expert, answer.score, cost)
                self._run.answers[place] = self._answers[node] = Answer(
                    answer.reply, answer.answer, answer.evaluation, node=node
                )
                return
        raise ReplayDivergence("the search began with an answer that now is not given")

    async def _answer(self, trial_id: int) -> Answer | None:
        reply = self._run.attempts.replies.get(f"t{trial_id}")
        return None if reply is None else await self._run.evaluate(reply)
