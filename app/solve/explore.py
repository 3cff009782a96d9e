"""The engine's shell: a few workers ask it, make the call, evaluate, and tell.

The engine decides, in plain code; what waits, costs or fails is here. Every event of the engine
is appended to the tree's log in the order in which it happened.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.ledger.journal import Told as Noted
from app.ledger.journal import TrialPlace
from app.ledger.refusals import BudgetExceeded, ClaimLost, LimitReached
from app.money import NanoUSD
from app.providers.completion import Draft, Message
from app.search.codec import encode
from app.search.events import Abandoned, Adopted, Asked, Event, ExpertsSet, Heard, Told
from app.search.tree import ROOT
from app.search.trial import Stop, StopReason, Trial, Wait
from app.solve.attempt import CallFailed, HandedOver, Reply
from app.solve.engine import AnyNode, Engine, adopt, hear, nodes_of, op_of, takes_unscored, tell
from app.solve.plan import Seat, round_cost, workers
from app.solve.prompts import fresh, read, refine
from app.solve.request import SolveRequest
from app.solve.run import Answer, Run
from app.store.treelog import TreeLog, TreeLogFenced, TreeLogGap, TreeLogUnavailable


class Explorer:
    """Runs one engine to its end; keeps its tree log and journal in step with it."""

    def __init__(self, run: Run, engine: Engine, *, tree_log: TreeLog) -> None:
        self._run, self._engine = run, engine
        self._tree_log = tree_log
        self._seats = {seat.expert.name: seat for seat in run.plan.searchers}
        self._answers: dict[int, Answer] = {}
        self._left: deque[tuple[Trial, TrialPlace]] = deque()
        self._changed = asyncio.Condition()
        self._appending = asyncio.Lock()
        self._appended = 0
        self._refused: BudgetExceeded | LimitReached | HandedOver | None = None
        self._failure: CallFailed | None = None
        self._reason: StopReason | None = None

    async def take_up(self) -> None:
        """Go on where another process stopped: answers to their nodes, open trials to be tried.

        What the search was told is journalled again, for the journal may be a call behind its log;
        but not what another solve was told, whose journal that is.
        """
        legacy = () if self._run.legacy is None else self._run.legacy.replies
        taken_over = 0 if self._run.legacy is None else len(self._run.legacy.log)
        planted = (
            place
            for place, one in enumerate(self._run.answers)
            if one.score is not None or takes_unscored(self._engine)
        )
        places: dict[int, TrialPlace] = {}
        nodes = iter(nodes_of(self._engine))
        for event in self._engine.log:
            match event:
                case Asked(trial=trial):
                    places[trial.id] = _place(event)
                case Told() | Adopted() if len(self._answers) < len(legacy):
                    await self._inherit(legacy[len(self._answers)], next(nodes))
                case Told(seq=seq, trial_id=trial_id) | Heard(seq=seq, trial_id=int(trial_id)):
                    reply = self._run.attempts.replies[op_of(self._engine, trial_id)]
                    answer = replace(await self._run.evaluate(reply), node=next(nodes).id)
                    self._run.answers.append(answer)
                    self._settle_node(answer, seq)
                case Adopted(seq=seq) | Heard(seq=seq):
                    place = next(planted)
                    answer = replace(self._run.answers[place], node=next(nodes).id)
                    self._run.answers[place] = answer
                    self._settle_node(answer, seq)
                case Abandoned(seq=seq, trial_id=trial_id, reason=reason) if seq > taken_over:
                    call_id = self._run.attempts.last_call(op_of(self._engine, trial_id))
                    self._run.attempts.told.append(Noted(call_id, seq, None, reason))
                case Abandoned() | ExpertsSet():
                    pass
        self._left.extend((trial, places[trial.id]) for trial in self._engine.in_flight)

    async def _inherit(self, reply: Reply, node: AnyNode) -> None:
        self._answers[node.id] = answer = await inherited_answer(self._run, reply, node)
        self._run.answers.append(answer)

    def _settle_node(self, answer: Answer, seq: int) -> None:
        assert answer.node is not None, "called for nodes only"
        self._answers[answer.node] = answer
        hear(self._engine, answer.node, answer.said)
        self._run.attempts.told.append(Noted(answer.reply.call_id, seq, answer.score))

    async def adopt_answers(self) -> None:
        """Plant the gate's answers, which are paid for, as the tree's first nodes."""
        for place, answer in enumerate(self._run.answers):
            if answer.node is not None:
                continue
            reply, expert = answer.reply, answer.reply.seat.expert.name
            node = adopt(self._engine, expert, answer.score, reply.cost, said=answer.said)
            if node is None:
                continue
            self._run.answers[place] = self._answers[node] = replace(answer, node=node)
            await self._note(reply.call_id, answer.score, reason=None)

    async def explore(self) -> StopReason | BudgetExceeded | LimitReached:
        """Go on until the engine stops or a budget refuses; what ended it.

        Raises the refusal, or the last failure of a provider, when there is no answer at all; and
        HandedOver once what was in flight has come back.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(workers(self._run.request, self._run.plan)):
                    tasks.create_task(self._work())
        except ExceptionGroup as failures:
            # One worker failed and the others were cancelled for it: its reason is the reason.
            raise failures.exceptions[0] from None
        if isinstance(self._refused, HandedOver):
            raise self._refused
        if not self._run.answers and (cause := self._refused or self._failure) is not None:
            raise cause
        ended = self._refused or self._reason
        assert ended is not None, "workers stop only for a reason"
        return ended

    async def _work(self) -> None:
        while (asked := await self._next()) is not None:
            await self._try(*asked)

    async def _next(self) -> tuple[Trial, TrialPlace] | None:
        if self._left:
            return self._left.popleft()
        async with self._changed:
            # Asked under the lock, so that no tell can slip between the question and the wait.
            while isinstance(step := self._ask(), Wait):
                await self._changed.wait()
        if isinstance(step, Stop):
            self._reason = step.reason
            # What is in flight was begun and is paid for; a failure of it changes nothing.
            self._run.attempts.try_no_more()
            return None
        if step is None:
            return None
        place = _place(self._engine.log[-1])
        await self._append_log()
        return step, place

    def _ask(self) -> Trial | Wait | Stop | None:
        return self._engine.ask() if self._refused is None else None

    async def _try(self, trial: Trial, place: TrialPlace) -> None:
        seat = self._seats[trial.expert]
        messages = messages_for(trial, seat, self._run.request, self._answers)
        try:
            reply = await self._run.attempts.complete(
                op_of(self._engine, trial.id),
                seat,
                messages,
                ahead=self._ahead(trial, seat, messages),
                trial=place,
                drafts=drafts_for(trial, self._answers),
            )
        except CallFailed as failure:
            self._failure = failure
            # Its kind and not its words, which may quote the prompt: the log outlives the texts.
            kind = type(failure.last).__name__
            await self._abandon(trial, failure.call_id, failure.cost, kind)
        except (BudgetExceeded, LimitReached, HandedOver) as refusal:
            # The trial stays open: it was never made, and after a refusal no other will be.
            if self._reason is None:  # else nobody needs it any more
                self._refused = refusal
            await self._wake()
        else:
            await self._tell(trial, await self._run.evaluate(reply))

    def _ahead(self, trial: Trial, seat: Seat, messages: Sequence[Message]) -> NanoUSD:
        request, plan = self._run.request, self._run.plan
        if not trial.reads:
            return round_cost(request, plan)
        return NanoUSD(seat.worst_case(messages) * workers(request, plan))

    async def _tell(self, trial: Trial, answer: Answer) -> None:
        reply = answer.reply
        node = tell(self._engine, trial.id, answer.score, reply.cost, said=answer.said)
        if node is None:
            self._run.answers.append(answer)
            await self._abandon(trial, reply.call_id, reply.cost, "the evaluator gave no score")
            return
        self._answers[node] = told = replace(answer, node=node)
        self._run.answers.append(told)
        await self._note(reply.call_id, answer.score, reason=None)

    async def _abandon(self, trial: Trial, call_id: str, cost: NanoUSD, reason: str) -> None:
        self._engine.abandon(trial.id, cost, reason)
        await self._note(call_id, None, reason=reason)

    async def _note(self, call_id: str, score: float | None, *, reason: str | None) -> None:
        # First and without a wait: the event just made is still the log's last.
        noted = Noted(call_id, len(self._engine.log), score, reason)
        self._run.attempts.told.append(noted)
        await self._append_log()
        await self._wake()

    async def _append_log(self) -> None:
        # The lock is fair and nothing waits between an event and its turn here, so events reach the
        # log in the order in which they happened.
        async with self._appending:
            log = self._engine.log
            while self._appended < len(log):
                try:
                    await self._append(log[self._appended])
                except TreeLogGap:
                    # The log was lost meanwhile. All of it is here: write it again.
                    self._appended = 0
                except TreeLogFenced as error:
                    raise ClaimLost(str(error)) from error
                except TreeLogUnavailable:
                    # The journal has what matters; the log catches up when it is back.
                    return
                else:
                    self._appended += 1

    async def _append(self, event: Event) -> None:
        claim = self._run.claim
        await self._tree_log.append(
            claim.solve_id, token=claim.token, seq=event.seq, event=encode(event)
        )

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def messages_for(
    trial: Trial, seat: Seat, request: SolveRequest, answers: Mapping[int, Answer]
) -> list[Message]:
    """What a trial asks its expert; `answers` are those of the tree, by node."""
    if trial.reads:
        return read(request, seat.expert, [answers[node].text for node in trial.reads])
    if trial.parent == ROOT:
        return fresh(request, seat.expert)
    parent = answers[trial.parent]
    feedback = "" if parent.evaluation is None else parent.evaluation.feedback
    return refine(request, seat.expert, answer=parent.text, feedback=feedback)


def drafts_for(trial: Trial, answers: Mapping[int, Answer]) -> Sequence[Draft]:
    """The answers that a trial reads, for providers that do not read messages."""
    return [Draft(answers[node].text, answers[node].said) for node in trial.reads]


async def inherited_answer(run: Run, reply: Reply, node: AnyNode) -> Answer:
    """The answer of a node that was taken over, with the score that it has.

    Evaluated again for what a refiner is to be told of it.
    """
    answer = await run.evaluate(reply)
    assert answer.evaluation is not None, "a search has evaluators"
    return replace(answer, evaluation=replace(answer.evaluation, score=node.score), node=node.id)


def _place(asked: Event) -> TrialPlace:
    assert isinstance(asked, Asked), "a trial stands where it was asked for"
    trial = asked.trial
    return TrialPlace(
        trial.id, trial.parent, asked.seq, propensity=asked.probability, widen=asked.widen
    )
