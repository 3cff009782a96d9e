"""What this process knows of the gate's weights, and how labels change it while it serves.

An update is a few sums in memory, at once; the database gets them once a second, from where every
other replica reads them. What is lost by a crash is a second of labels. Nothing here waits on a
request's way, and nothing here can fail one.
"""

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog

from app.db.engine import Database, DatabaseUnavailable, WriteTx
from app.db.repeating import repeat
from app.gate.document import UnreadableWeights, model_from
from app.gate.evidence import NONE, Evidence, offsets
from app.gate.learned import Standing
from app.gate.stack import Stack
from app.ids import SolveId, TenantId
from app.learning import book
from app.learning.lesson import BOTH, SEARCH, Lesson, Told, own_level, pools, told
from app.learning.refit import Refit, refit
from app.telemetry.readiness import Drain

EVERY_S: Final = 1.0
LESSONS_MAX: Final = 20_000
"""Labelled solves that count, the newest; and how many may wait to be written down."""
PAGE: Final = 500
PAGES_MAX: Final = 20
"""Of what others have written, at a time."""
OVERLAP_S: Final = 30.0
"""How long after its own time a lesson may yet become visible, for its transaction took so long."""
MODELS_MAX: Final = 8
FORGET_EVERY: Final = 3600
"""Turns, so about once an hour."""

log = structlog.get_logger()


class Learner:
    """The weights that decide here, moved by labels.

    `document` None leaves all to the untrained rule, and nothing is learned; `chosen` says that the
    operator named it, and not the package.
    """

    def __init__(
        self,
        *,
        database: Database,
        document: Mapping[str, Any] | None,
        chosen: bool = False,
        drain: Drain,
    ) -> None:
        self._db, self._document, self._chosen, self._drain = database, document, chosen, drain
        self._models: dict[str, Stack] = {}
        self._current: Stack | None = None
        if document is not None:
            self._current = Stack.of(model_from(document))
            self._models[self._current.version] = self._current
        self._known: defaultdict[str, dict[str, Evidence]] = defaultdict(dict)
        # Labels of before an alarm at their level, and when it was, in Unix seconds.
        self._doubted: defaultdict[str, dict[str, Evidence]] = defaultdict(dict)
        self._alarmed: Mapping[str, float] = {}
        self._told: OrderedDict[SolveId, tuple[Lesson, list[Told]]] = OrderedDict()
        self._unwritten: deque[Lesson] = deque(maxlen=LESSONS_MAX)
        self._read_to: datetime | None = None
        self._writing = asyncio.Lock()
        self._lost: set[str] = set()
        self._turns = 0

    @property
    def current(self) -> Stack | None:
        """The weights that decide what is admitted now."""
        return self._current

    def model(self, version: str) -> Stack | None:
        """The weights of a version, where they are in memory."""
        return self._models.get(version)

    async def fetch(self, version: str) -> Stack | None:
        """The same, and else from the database; None where it has none either."""
        if (known := self._models.get(version)) is not None or version in self._lost:
            return known
        async with self._db.glance() as tx:
            document = await book.document_at(tx, version)
        try:
            found = None if document is None else Stack.of(model_from(document))
        except UnreadableWeights as error:  # of a version of Fathom that sees other features
            log.warning("gate_weights_unreadable", version=version, reason=str(error))
            found = None
        if found is None:
            self._lost.add(version)
            return None
        while len(self._models) >= MODELS_MAX:
            oldest = next(name for name in self._models if name != self._version)
            del self._models[oldest]
        self._models[version] = found
        return found

    def standing(
        self, tenant_id: TenantId, pair: str, category: str | None, *, pooled: bool
    ) -> Standing | None:
        """What a decision for this tenant rests on now."""
        if self._current is None:
            return None
        own = own_level(tenant_id, pair, category)
        levels = (*pools(pair, category), own)
        return Standing(
            version=self._current.version,
            category=category,
            offsets=offsets({level: self._evidence(level) for level in levels}, levels),
            labels=max(self._labels(BOTH, level) for level in levels),
            own_labels=self._labels(BOTH, own),
            searches=max(self._labels(SEARCH, level) for level in levels),
            pooled=pooled,
        )

    def learn(self, lesson: Lesson) -> None:
        """Count a lesson at once, in place of what the same solve taught before; write it soon."""
        if self._current is None:
            return
        self._unwritten.append(lesson)
        self._count(lesson)

    def doubt(self, alarmed: Mapping[str, float]) -> None:
        """Let labels of before an alarm weigh a quarter at its level; times are Unix seconds."""
        if alarmed == self._alarmed:
            return
        changed = {level for level, _ in alarmed.items() ^ self._alarmed.items()}
        again = [one for one in self._told.values() if not changed.isdisjoint(one[0].levels)]
        for lesson, _ in again:
            self._forget(lesson.solve_id)
        self._alarmed = dict(alarmed)
        for lesson, new in again:
            self._add(lesson, new)

    async def tell(self, tenant_id: TenantId, solve_id: SolveId, feedback: float) -> None:
        """What a caller says of a solve's answer: written down, and counted here."""
        await self.flush()
        await self._db.write(lambda tx: book.tell(tx, tenant_id, solve_id, feedback))
        async with self._db.glance() as tx:
            lesson = await book.lesson_of(tx, solve_id)
        if lesson is not None and self._current is not None:
            self._count(lesson)

    async def refit(self) -> Refit | None:
        """Fit anew on what was learned; better weights decide from the next refresh on."""
        if self._document is None:
            return None
        await self.flush()
        found = await refit(self._db, self._document)
        log.info("gate_refitted", version=found.version, promoted=found.promoted)
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Write and read until `stop` is set, and write what is left."""
        await repeat("learning", self.refresh, every_s=EVERY_S, stop=stop, drain=self._drain)
        with suppress(DatabaseUnavailable):
            await self.flush()

    async def begin(self) -> None:
        """Register the weights, and read what was learned before this process began."""
        if (document := self._document) is None:
            return

        async def work(tx: WriteTx) -> None:
            await book.register(tx, document, promoted=self._chosen)
            await book.forget(tx)

        await self._db.write(work)
        await self.refresh()

    async def refresh(self) -> bool:
        """Write what was learned here, read what was elsewhere; whether there may be more."""
        if self._current is None:
            return False
        await self.flush()
        self._turns += 1
        if self._turns % FORGET_EVERY == 0:
            await self._db.write(book.forget)
        async with self._db.glance() as tx:
            version = await book.promoted(tx)
        if version is not None and version != self._current.version:
            await self._change(version)
        if self._read_to is None:
            return await self._read_all()
        return await self._catch_up(self._read_to)

    async def flush(self) -> None:
        """Write down what was learned here; what cannot be written waits."""
        async with self._writing:
            while self._unwritten:
                most = min(PAGE, len(self._unwritten))
                page = [self._unwritten.popleft() for _ in range(most)]
                try:
                    await self._db.write(partial(book.write, lessons=page))
                except BaseException:
                    self._unwritten.extendleft(reversed(page))
                    raise

    def _labels(self, head: str, level: str) -> int:
        return self._evidence(level).get(head, NONE).labels

    def _evidence(self, level: str) -> Mapping[str, Evidence]:
        known, doubted = self._known.get(level, {}), self._doubted.get(level)
        if doubted is None:
            return known
        return {
            head: doubted.get(head, NONE).doubted().joined(known.get(head, NONE))
            for head in doubted.keys() | known.keys()
        }

    def _ledger(self, lesson: Lesson, level: str) -> defaultdict[str, dict[str, Evidence]]:
        alarm, at = self._alarmed.get(level), lesson.labelled_at
        # One without a time was learned here just now.
        is_old = alarm is not None and at is not None and at.timestamp() < alarm
        return self._doubted if is_old else self._known

    @property
    def _version(self) -> str | None:
        return None if self._current is None else self._current.version

    async def _change(self, version: str) -> None:
        model = await self.fetch(version)
        if model is None:
            return
        log.info("gate_weights_changed", version=version)
        self._current = model
        # What the new weights expected of each label is not what the old ones did.
        self._known.clear()
        self._doubted.clear()
        self._told.clear()
        self._read_to = None

    async def _read_all(self) -> bool:
        async with self._db.read() as tx:
            lessons = await book.newest(tx, most=LESSONS_MAX)
        await self._count_all(lessons)
        return False

    async def _catch_up(self, read_to: datetime) -> bool:
        instant, solve_id = book.before(read_to, OVERLAP_S), ""
        for _ in range(PAGES_MAX):
            async with self._db.glance() as tx:
                page = await book.since(tx, instant, solve_id, most=PAGE)
            await self._count_all(page)
            if len(page) < PAGE:
                return False
            last = page[-1]
            assert last.labelled_at is not None, "every row has its time"
            instant, solve_id = last.labelled_at, last.solve_id
        return True

    async def _count_all(self, lessons: Sequence[Lesson]) -> None:
        for place, lesson in enumerate(lessons):
            known = self._told.get(lesson.solve_id)
            if known is None or known[0] != lesson:
                self._count(lesson)
            if lesson.labelled_at is not None:
                self._read_to = max(self._read_to or lesson.labelled_at, lesson.labelled_at)
            if place % PAGE == PAGE - 1:
                await asyncio.sleep(0)  # requests first

    def _count(self, lesson: Lesson) -> None:
        assert self._current is not None, "there are weights to be moved"
        try:
            new = told(lesson, self._current)
        except Exception:  # what fails to be learned must not fail its solve
            log.exception("lesson_not_learned", solve_id=lesson.solve_id)
            return
        self._forget(lesson.solve_id)
        self._add(lesson, new)

    def _add(self, lesson: Lesson, new: list[Told]) -> None:
        self._told[lesson.solve_id] = lesson, new
        for level in lesson.levels:
            heads = self._ledger(lesson, level)[level]
            for head, label, expected in new:
                heads[head] = heads.get(head, NONE).told(label, expected)
        while len(self._told) > LESSONS_MAX:
            self._forget(next(iter(self._told)))

    def _forget(self, solve_id: SolveId) -> None:
        before = self._told.pop(solve_id, None)
        if before is None:
            return
        lesson, old = before
        for level in lesson.levels:
            ledger = self._ledger(lesson, level)
            heads = ledger[level]
            for head, label, expected in old:
                heads[head] = heads[head].untold(label, expected)
            if not any(one.labels for one in heads.values()):
                del ledger[level]
