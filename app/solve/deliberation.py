"""Drafts, then passes over them: asked what to try next and told what came of it, as a search is.

Round 0 is `k` drafts, written independently. Each pass after it is as many answers again, given by
models that have read all drafts, and from the second pass on also the answers of the pass before:
parallel coordinated reasoning (PaCoRe, arXiv 2601.05593), with rounds of one width. A round begins
when the one before it is complete; whom a trial asks follows from its number alone.

Adaptive, it ends early: once the answers of a round agree (see `agreement`), and no more are in
flight than could settle it if all of them agreed.

Pure as the search: every change is an event in the log, which holds no text. So what an answer came
to is heard apart from the event that tells of it: `hear` after each, live or taken up again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.search.events import (
    Abandoned,
    Adopted,
    Asked,
    Event,
    ExpertsSet,
    Heard,
    Told,
    UnreadableLog,
)
from app.search.tree import ROOT
from app.search.trial import Stop, StopReason, Trial, UnknownTrial, Wait, valid_score
from app.solve.agreement import leaders, majority, still_needed

DRAFT: Final = "draft."
PASS: Final = "pass."


@dataclass(frozen=True, slots=True)
class Rounds:
    """How to deliberate: fixed when it starts, and together with its log all of its state.

    `confidence` at which agreement ends it, and `target_score` at which one answer does; None where
    that never ends it early.
    """

    experts: tuple[str, ...]
    k: int
    passes: int
    confidence: float | None
    target_score: float | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """A draft, or an answer of a pass; `depth` is 1 for a draft, 2 for the first pass.

    `reads` are the nodes that it was made from, `parent` the first of the latest round of them.
    `score` is None where nothing scored it, `trial_id` where it was there before.
    """

    id: int
    parent: int
    depth: int
    expert: str
    score: float | None
    cost: int
    trial_id: int | None
    reads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """How a round stands: of `votes` answers, readable or not, `leading` say the same."""

    leading: int
    votes: int

    @property
    def majority(self) -> float:
        """How likely most further answers are to say it, too."""
        return majority(self.leading, self.votes)


class Deliberation:
    """One deliberation, from the first ask to the last tell."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds
        self._nodes: list[Contribution] = []
        self._in_flight: dict[int, Trial] = {}
        self._asks = self._adopted = 0
        self._said: dict[int, str | None] = {}
        self._reason: StopReason | None = None
        self._log: list[Event] = []

    def ask(self) -> Trial | Wait | Stop:
        """What to do next. Only an ask that gives a trial counts as one, and is logged."""
        if self._reason is not None:
            return Stop(self._reason)
        if self._in_flight and self._is_enough_in_flight():
            return Wait()
        trial = self.press_on()
        if trial is not None:
            return trial
        if self._in_flight:
            return Wait()
        answered = self._of_round(self._round_of(self._asks))
        return Stop(StopReason.PASSES if answered else StopReason.EXPERTS_FAILED)

    def press_on(self) -> Trial | None:
        """Ask whatever was heard: for what is known to have been asked. None if nothing is left."""
        trial = self.due()
        if trial is not None:
            self.apply(Asked(self._next_seq, trial))
        return trial

    def tell(self, trial_id: int, score: float | None, cost: int) -> int:
        """Make a node of an answered trial and return its id: 1, 2, … in order of telling.

        `score` is None where there is none. UnknownTrial if it is not in flight.
        """
        expert = self._require_in_flight(trial_id).expert
        if score is None:
            self.apply(Heard(self._next_seq, expert, cost, trial_id))
        else:
            self.apply(Told(self._next_seq, trial_id, valid_score(score), cost))
        return len(self._nodes)

    def abandon(self, trial_id: int, cost: int, reason: str) -> None:
        """Close a trial without a node: a failed call. It is not repeated."""
        self.apply(Abandoned(self._next_seq, trial_id, cost, reason))

    def adopt(self, expert: str, score: float | None, cost: int) -> int:
        """Take in an answer made before the first ask, as one of the drafts; return its id."""
        if score is None:
            self.apply(Heard(self._next_seq, expert, cost, None))
        else:
            self.apply(Adopted(self._next_seq, expert, valid_score(score), cost))
        return len(self._nodes)

    def hear(self, node: int, said: str | None) -> None:
        """What a node's answer came to, None if that could not be read; in order of nodes.

        Once it has been enough, it stays so, whatever comes in later.
        """
        self._said[node] = said
        if self._reason is None:
            self._reason = self._settled_by(self._nodes[node - 1])

    def apply(self, event: Event) -> None:
        """Let `event` happen, if it can follow on what has, and log it; nothing changes if not."""
        if event.seq != self._next_seq:
            raise UnreadableLog(f"event {event.seq} where {self._next_seq} was due")
        match event:
            case Asked(trial=trial):
                if trial != self.due():
                    raise UnreadableLog(f"{trial} cannot follow on ask {self._asks}")
                self._asks = trial.id
                self._in_flight[trial.id] = trial
            case Told(trial_id=trial_id, score=score, cost=cost):
                self._grow(self._close(trial_id), score, cost)
            case Heard(trial_id=int(trial_id), cost=cost):
                self._grow(self._close(trial_id), None, cost)
            case Abandoned(trial_id=trial_id):
                self._close(trial_id)
            case Adopted(expert=expert, score=score, cost=cost):
                self._adopt(expert, score, cost)
            case Heard(expert=expert, cost=cost):
                self._adopt(expert, None, cost)
            case ExpertsSet():
                raise UnreadableLog("who deliberates does not change")
        self._log.append(event)

    @property
    def log(self) -> Sequence[Event]:
        """All that happened; event `seq` is at index `seq - 1`."""
        return self._log

    @property
    def nodes(self) -> Sequence[Contribution]:
        """All nodes; node `id` is at index `id - 1`."""
        return self._nodes

    @property
    def in_flight(self) -> tuple[Trial, ...]:
        """Trials neither told nor abandoned, in order of asking."""
        return tuple(self._in_flight.values())

    @property
    def last_round(self) -> int:
        """The latest round that has an answer; 0 are the drafts."""
        return max((node.depth for node in self._nodes), default=1) - 1

    def due(self) -> Trial | None:
        """The trial that comes next; None if its round cannot begin, or there is none."""
        number, before = self._round_of(self._asks + 1), self._round_of(self._asks)
        expert = self.rounds.experts[self._asks % len(self.rounds.experts)]
        if not number:
            return Trial(self._asks + 1, ROOT, expert, depth=1)
        latest = [node.id for node in self._of_round(number - 1)]
        if number > self.rounds.passes or not latest or (number > before and self._in_flight):
            return None
        drafts = [] if number == 1 else [node.id for node in self._of_round(0)]
        return Trial(self._asks + 1, latest[0], expert, depth=number + 1, reads=(*drafts, *latest))

    def op(self, trial_id: int) -> str:
        """The op of a trial's call: `draft.3`, or `pass.2.1` for the first answer of pass 2."""
        number = self._round_of(trial_id)
        if not number:
            return f"{DRAFT}{trial_id}"
        return f"{PASS}{number}.{(trial_id - self._drafts_due - 1) % self.rounds.k + 1}"

    def vote_of(self, number: int) -> Vote:
        """How a round stands, by what was heard of it."""
        nodes = [node.id for node in self._of_round(number) if node.id in self._said]
        said = [self._said[node] for node in nodes]
        return Vote(len(leaders(said)), len(said))

    @property
    def _next_seq(self) -> int:
        return len(self._log) + 1

    @property
    def _drafts_due(self) -> int:
        return max(0, self.rounds.k - self._adopted)

    def _round_of(self, trial_id: int) -> int:
        beyond = trial_id - self._drafts_due
        return 0 if beyond <= 0 else 1 + (beyond - 1) // self.rounds.k

    def _settled_by(self, node: Contribution) -> StopReason | None:
        target, confidence = self.rounds.target_score, self.rounds.confidence
        if target is not None and node.score is not None and node.score >= target:
            return StopReason.TARGET_SCORE
        if confidence is not None and self.vote_of(node.depth - 1).majority >= confidence:
            return StopReason.AGREEMENT
        return None

    def _of_round(self, number: int) -> list[Contribution]:
        return [node for node in self._nodes if node.depth == number + 1]

    def _is_enough_in_flight(self) -> bool:
        confidence, number = self.rounds.confidence, self._round_of(self._asks)
        if confidence is None:
            return False
        vote = self.vote_of(number)
        needed = still_needed(vote.leading, vote.votes, confidence=confidence, most=self.rounds.k)
        return len(self._in_flight) >= needed

    def _adopt(self, expert: str, score: float | None, cost: int) -> None:
        if self._asks:
            raise UnreadableLog("an answer was adopted after the first ask")
        self._adopted += 1
        self._add(ROOT, 1, expert, score, cost, trial_id=None, reads=())

    def _grow(self, trial: Trial, score: float | None, cost: int) -> None:
        self._add(
            trial.parent,
            trial.depth,
            trial.expert,
            score,
            cost,
            trial_id=trial.id,
            reads=trial.reads,
        )

    def _add(
        self,
        parent: int,
        depth: int,
        expert: str,
        score: float | None,
        cost: int,
        *,
        trial_id: int | None,
        reads: tuple[int, ...],
    ) -> None:
        number = len(self._nodes) + 1
        self._nodes.append(
            Contribution(number, parent, depth, expert, score, cost, trial_id, reads)
        )

    def _require_in_flight(self, trial_id: int) -> Trial:
        if trial_id not in self._in_flight:
            raise UnknownTrial(trial_id)
        return self._in_flight[trial_id]

    def _close(self, trial_id: int) -> Trial:
        self._require_in_flight(trial_id)
        return self._in_flight.pop(trial_id)


def deliberated(rounds: Rounds, log: Iterable[Event]) -> Deliberation:
    """The deliberation that wrote `log`, but for what its answers came to.

    Raises UnreadableLog where an event is missing or cannot follow on those before it.
    """
    made = Deliberation(rounds)
    for event in log:
        try:
            made.apply(event)
        except UnknownTrial as contradiction:
            raise UnreadableLog(f"event {event.seq}: {contradiction}") from contradiction
    return made


def round_of(op: str) -> int:
    """The round that the answer of an op belongs to: 0 for drafts, and what was there before."""
    return int(op.split(".")[1]) if op.startswith(PASS) else 0
