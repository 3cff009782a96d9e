"""A search: it is asked what to try next and told what came of it.

Nothing here waits, reads a clock, does I/O or draws from a global random source. Every change is
an event in the log, live calls and replay change the state through the same `apply`, and each
ask's draws come from the seed and the ask's number; so a search continues exactly from its
settings and any prefix of its log, with trials still in flight.
"""

from collections.abc import Iterable, Sequence

from app.errors import InvalidRequest
from app.search.draws import Draws
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
from app.search.policies import policy_for
from app.search.policy import Choice
from app.search.roster import Roster
from app.search.settings import SearchSettings
from app.search.tree import ROOT, Node, Tree
from app.search.trial import Stop, StopReason, Trial, UnknownTrial, Wait, valid_score

ASKS_PER_NODE = 3
"""At most this many asks for each of `max_nodes`: where two calls in three fail, give up."""


class Search:
    """One tree search, from the first ask to the last tell."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._policy = policy_for(settings)
        self._draws = Draws(settings.seed)
        self._roster = Roster(settings.experts)
        self._tree = Tree()
        self._in_flight: dict[int, Trial] = {}
        self._asks = 0
        self._best: Node | None = None
        self._tells_since_best = 0
        self._log: list[Event] = []

    def ask(self) -> Trial | Wait | Stop:
        """What to do next. Only an ask that gives a trial counts as one, and is logged."""
        reason = self._stop_reason()
        if reason is StopReason.TARGET_SCORE:
            return Stop(reason)
        if reason is not None:
            # A trial in flight may still make a better best, or fail and so make room for another.
            return Wait() if self._in_flight else Stop(reason)
        choice = self._choose()
        if not isinstance(choice, Choice):
            # As above: what is in flight may yet give the policy something to do.
            return Wait() if self._in_flight else choice
        trial = self._trial(choice)
        self.apply(Asked(self._next_seq, trial, choice.probability, choice.widen))
        return trial

    def tell(self, trial_id: int, score: float, cost: int) -> int:
        """Make a node of an answered trial and return its id: 1, 2, … in order of telling.

        UnknownTrial if it is not in flight; InvalidScore leaves it in flight. After a Stop too.
        """
        self._require_in_flight(trial_id)
        self.apply(Told(self._next_seq, trial_id, valid_score(score), cost))
        return len(self._tree.nodes)

    def abandon(self, trial_id: int, cost: int, reason: str) -> None:
        """Close a trial without a node: a failed call, or an answer that could not be scored.

        Raises UnknownTrial if it is not in flight.
        """
        self.apply(Abandoned(self._next_seq, trial_id, cost, reason))

    def adopt(self, expert: str, score: float, cost: int) -> int:
        """Take in an answer made before the search began, as a child of the root; return its id.

        `expert` need not be one of the search's own. Raises InvalidScore.
        """
        self.apply(Adopted(self._next_seq, expert, valid_score(score), cost))
        return len(self._tree.nodes)

    def set_experts(self, experts: tuple[str, ...]) -> None:
        """Ask these from now on. Nodes and trials of others stay; see `Roster` for failures."""
        self.apply(ExpertsSet(self._next_seq, experts))

    def apply(self, event: Event) -> None:
        """Let `event` happen, if it can follow on what has, and log it; nothing changes if not."""
        if event.seq != self._next_seq:
            raise UnreadableLog(f"event {event.seq} where {self._next_seq} was due")
        match event:
            case Asked(trial=trial):
                self._require_next(trial)
                self._asks = trial.id
                self._in_flight[trial.id] = trial
                self._policy.asked(trial)
            case Told(trial_id=trial_id, score=score, cost=cost):
                trial = self._close(trial_id)
                self._roster.answered(trial.expert)
                self._grow(trial.parent, trial.expert, score, cost, trial_id=trial_id)
            case Abandoned(trial_id=trial_id, cost=cost):
                trial = self._close(trial_id)
                self._roster.failed(trial.expert)
                self._policy.abandoned(trial, cost)
            case Adopted(expert=expert, score=score, cost=cost):
                self._grow(ROOT, expert, score, cost, trial_id=None)
            case ExpertsSet(experts=experts):
                self._roster.replace(experts)
            case Heard():
                raise UnreadableLog(f"event {event.seq}: a search is told scores")
        self._log.append(event)

    @property
    def log(self) -> Sequence[Event]:
        """All that happened; event `seq` is at index `seq - 1`."""
        return self._log

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes; node `id` is at index `id - 1`."""
        return self._tree.nodes

    @property
    def best(self) -> int | None:
        """The first node to reach the best score; None in an empty tree."""
        return None if self._best is None else self._best.id

    @property
    def in_flight(self) -> tuple[Trial, ...]:
        """Trials neither told nor abandoned, in order of asking."""
        return tuple(self._in_flight.values())

    @property
    def experts(self) -> tuple[str, ...]:
        """The experts that may still be asked."""
        return self._roster.in_use

    @property
    def _next_seq(self) -> int:
        return len(self._log) + 1

    def _stop_reason(self) -> StopReason | None:
        settings, best = self._settings, self._best
        target, patience = settings.target_score, settings.patience
        if target is not None and best is not None and best.score >= target:
            return StopReason.TARGET_SCORE
        if patience is not None and self._tells_since_best >= patience:
            return StopReason.PATIENCE
        if len(self._tree.nodes) + len(self._in_flight) >= settings.max_nodes:
            return StopReason.MAX_NODES
        if not self._roster.in_use or self._asks >= ASKS_PER_NODE * settings.max_nodes:
            return StopReason.EXPERTS_FAILED
        return None

    def _choose(self) -> Choice | Wait | Stop:
        # A generator per ask, so that the n-th choice does not depend on how many draws earlier
        # asks happened to use.
        rng = self._draws.of_ask(self._asks + 1)
        choice = self._policy.choose(self._tree, self._roster.in_use, self.in_flight, rng)
        assert self._in_flight or not isinstance(choice, Wait), "there is nothing to wait for"
        return choice

    def _trial(self, choice: Choice) -> Trial:
        depth = self._tree.depth(choice.parent) + 1
        return Trial(self._asks + 1, choice.parent, choice.expert, depth)

    def _require_in_flight(self, trial_id: int) -> None:
        if trial_id not in self._in_flight:
            raise UnknownTrial(trial_id)

    def _require_next(self, trial: Trial) -> None:
        fits = (
            trial.id == self._asks + 1
            and ROOT <= trial.parent <= len(self._tree.nodes)
            and trial.depth == self._tree.depth(trial.parent) + 1
        )
        if not fits:
            raise UnreadableLog(f"{trial} cannot follow on ask {self._asks}")

    def _close(self, trial_id: int) -> Trial:
        self._require_in_flight(trial_id)
        return self._in_flight.pop(trial_id)

    def _grow(
        self, parent: int, expert: str, score: float, cost: int, *, trial_id: int | None
    ) -> None:
        depth = self._tree.depth(parent) + 1
        node = Node(len(self._tree.nodes) + 1, parent, depth, expert, score, cost, trial_id)
        self._tree.add(node)
        self._policy.told(node)
        if self._best is None or score > self._best.score:
            self._best, self._tells_since_best = node, 0
        elif self._next_seq > self._settings.inherited:
            self._tells_since_best += 1


def replay(settings: SearchSettings, log: Iterable[Event]) -> Search:
    """The search that wrote `log` under `settings`: the same state, and the same next asks.

    Raises UnreadableLog where an event is missing or cannot follow on those before it.
    """
    search = Search(settings)
    for event in log:
        try:
            search.apply(event)
        except (UnknownTrial, InvalidRequest) as contradiction:
            raise UnreadableLog(f"event {event.seq}: {contradiction}") from contradiction
    return search
