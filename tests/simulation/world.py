"""What lies between processes: every effect of one on another passes here, in a seeded order.

A process that wants to do something to the world (a transaction, a command, a call) waits at a
gate. Whenever nothing else can run, the scheduler draws what happens next: one gate opens, time
passes, or something breaks. The gates of a dead process never open again, so that whatever its
tasks still believe, nothing of it reaches the world.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

STEP_S: Final = 0.004
"""How long an effect takes, on average."""

LEAP_S: Final = 1.0
"""The most that passes at once while an effect could happen."""


class Verdict(StrEnum):
    """What becomes of an effect whose gate opens."""

    DO = "do"
    DROP = "drop"
    """It does not happen, and whoever wanted it hears of a lost connection."""
    LOSE = "lose"
    """It happens, and whoever wanted it hears of a lost connection."""
    DIE = "die"
    """It happens, and its process is dead before it hears of it."""


class Fault(StrEnum):
    """What may break."""

    DROP = "request lost"
    LOSE = "acknowledgement lost"
    DIE = "crash after an effect"
    CRASH = "crash before an effect"
    PAUSE = "process paused"
    FLUSH = "FLUSHALL"
    OUTAGE = "database out of reach"
    SILENCE = "Redis out of reach"
    JUMP = "clock jump"
    DRAIN = "drain"
    REPEAT = "outcome reported twice"
    SLOW = "slow reply"


@dataclass(eq=False, slots=True)
class Line:
    """What ties one process to the world."""

    name: str
    dead: bool = False
    paused_until_s: float = 0.0
    drained: bool = False


@dataclass(eq=False, slots=True)
class Effect:
    """Something that waits at its gate."""

    line: Line
    kind: str
    gate: "asyncio.Future[Verdict]"
    weight: float


@dataclass(slots=True)
class World:
    """The gates, the clocks, and what has happened. `trace` gets a line a step, if it is wanted."""

    random: Random
    fault_rate: float
    lease_s: float
    trace: Callable[[str], None] | None = None
    skew_s: float = 0.0
    calm: bool = False
    over: bool = False
    database_down_until_s: float = 0.0
    redis_down_until_s: float = 0.0
    lines: list[Line] = field(default_factory=list[Line])
    waiting: list[Effect] = field(default_factory=list[Effect])
    effects: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[Fault] = field(default_factory=Counter[Fault])
    violations: list[str] = field(default_factory=list[str])
    on_death: Callable[[Line], None] = lambda _line: None
    on_flush: Callable[[], None] = lambda: None
    now: Callable[[], float] = lambda: 0.0

    async def pass_gate(self, line: Line, kind: str, *, weight: float = 1.0) -> Verdict:
        """Wait until this may happen; never, where the process is dead by then."""
        if self.over:
            raise asyncio.CancelledError
        gate = asyncio.get_running_loop().create_future()
        if not line.dead:
            self.waiting.append(Effect(line, kind, gate, weight))
        verdict: Verdict = await gate
        return verdict

    async def never(self) -> None:
        """What a dead process waits for."""
        if self.over:
            raise asyncio.CancelledError
        await asyncio.get_running_loop().create_future()

    @property
    def database_is_down(self) -> bool:
        return self.now() < self.database_down_until_s

    @property
    def redis_is_down(self) -> bool:
        return self.now() < self.redis_down_until_s

    def database_time_s(self) -> float:
        """Unix seconds by the database's clock."""
        return 1_760_000_000.0 + self.now() + self.skew_s

    def step(self, timer_s: float | None) -> float:
        """Let the next thing happen; how many seconds that takes."""
        self.waiting = [one for one in self.waiting if not one.gate.done() and not one.line.dead]
        now_s = self.now()
        able = [one for one in self.waiting if one.line.paused_until_s <= now_s]
        if not able:
            waits = [one.line.paused_until_s - now_s for one in self.waiting]
            if timer_s is not None:
                waits.append(timer_s)
            assert waits, "nothing can happen any more"
            return min(waits)
        roll = self.random.random()
        if timer_s is not None and roll < 0.1:
            leap_s = min(timer_s, self.random.random() * LEAP_S)
            self._tell(f"{leap_s * 1000:.0f} ms pass")
            return leap_s
        chosen = self.random.choices(able, [one.weight for one in able])[0]
        verdict = Verdict.DO
        if not self.calm and self.random.random() < self.fault_rate:
            verdict = self._break(chosen)
            if chosen.line.dead or chosen.line.paused_until_s > now_s:
                return 0.0
        self.waiting.remove(chosen)
        self.effects[chosen.kind] += 1
        self._tell(
            f"{chosen.line.name} {chosen.kind}" + ("" if verdict is Verdict.DO else f": {verdict}")
        )
        chosen.gate.set_result(verdict)
        took_s = min(self.random.expovariate(1 / STEP_S), 10 * STEP_S)
        return took_s if timer_s is None else min(took_s, timer_s)

    def kill(self, line: Line) -> None:
        """End a process as a lost machine ends: nothing that it still does has any effect."""
        if not line.dead:
            line.dead = True
            self._tell(f"{line.name} is dead")
            self.on_death(line)

    def note(self, fault: Fault, detail: str = "") -> None:
        """Count a fault that happened."""
        self.faults[fault] += 1
        self._tell(f"FAULT {fault} {detail}")

    def settle_down(self) -> None:
        """No more faults: what is paused goes on, what was out of reach is back."""
        self.calm = True
        self.database_down_until_s = self.redis_down_until_s = 0.0
        for line in self.lines:
            line.paused_until_s = 0.0

    def violated(self, what: str) -> None:
        """Something happened that must not."""
        self.violations.append(what)
        self._tell(f"VIOLATION {what}")

    def failed(self, what: str, error: BaseException) -> None:
        """Something ended in a way that nobody planned for."""
        if not self.over:
            self.violated(f"{what}: {error!r}")

    def _break(self, chosen: Effect) -> Verdict:
        fault = self.random.choices(list(FAULTS), list(FAULTS.values()))[0]
        self.note(fault, chosen.line.name)
        now_s, line = self.now(), chosen.line
        match fault:
            case Fault.DROP:
                return Verdict.DROP
            case Fault.LOSE:
                return Verdict.LOSE
            case Fault.DIE:
                return Verdict.DIE
            case Fault.CRASH:
                self.kill(line)
            case Fault.PAUSE:
                line.paused_until_s = now_s + self.lease_s * self.random.uniform(0.5, 3.5)
            case Fault.FLUSH:
                self.on_flush()
            case Fault.OUTAGE:
                self.database_down_until_s = now_s + self.random.expovariate(1 / 2)
            case Fault.SILENCE:
                self.redis_down_until_s = now_s + self.random.expovariate(1 / 2)
            case Fault.JUMP:
                self.skew_s += self.random.choice([-20.0, -1.0, 5.0, 60.0])
            case Fault.DRAIN:
                line.drained = True
            case Fault.REPEAT | Fault.SLOW:
                raise AssertionError("these come from elsewhere")
        return Verdict.DO

    def _tell(self, what: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.now():10.3f}  {what}")


FAULTS: Final = {
    Fault.DROP: 2.0,
    Fault.LOSE: 4.0,
    Fault.DIE: 2.0,
    Fault.CRASH: 1.5,
    Fault.PAUSE: 3.0,
    Fault.FLUSH: 1.0,
    Fault.OUTAGE: 1.0,
    Fault.SILENCE: 1.0,
    Fault.JUMP: 1.0,
    Fault.DRAIN: 0.5,
}
"""How likely each is, relative to the others."""
