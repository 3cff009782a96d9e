"""The protocol with one of its rules taken out, to show that the simulation would notice.

A mutant changes what one statement says on its way to the database, or which script Redis runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from app.store.treelog import TreeLog

Rewrite = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is different: the ledger's statements, those of the leases, CHECKs, the tree's log."""

    name: str
    ledger: Rewrite | None = None
    leases: Rewrite | None = None
    checks: bool = True
    tree_log: Callable[[Redis], TreeLog] = TreeLog


def replacing(start: str, old: str, new: str) -> Rewrite:
    """Put `new` for `old` in the statements that start so; each of them must have it."""

    def rewrite(statement: str) -> str:
        return statement.replace(old, new) if statement.startswith(start) else statement

    return rewrite


NONE: Final = Mutant("none")


class Unfenced(TreeLog):
    """A log that takes every event from everybody."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._append = redis.register_script(
            "redis.call('XADD', KEYS[1], '*', 'e', ARGV[3]) return 1"
        )


def _all(*rewrites: Rewrite) -> Rewrite:
    def rewrite(statement: str) -> str:
        for one in rewrites:
            statement = one(statement)
        return statement

    return rewrite


MUTANTS: Final = (
    Mutant(
        "no fence at intent",
        ledger=replacing("UPDATE solve SET hold=", "solve.token = ?", "? IS NOT NULL"),
    ),
    Mutant(
        "no orphaning",
        leases=_all(
            replacing("SELECT call.id", "call.state = ?", "call.state = ? AND 0"),
            replacing("UPDATE solve SET inflight=?", "solve.id IN", "0 AND solve.id IN"),
        ),
    ),
    Mutant(
        "token not incremented",
        leases=replacing("UPDATE solve SET token=", "solve.token + ?", "solve.token + 0 * ?"),
    ),
    Mutant(
        "outcome not idempotent",
        ledger=replacing("UPDATE call SET state=", "call.state = ?", "? IS NOT NULL"),
    ),
    Mutant(
        "what a process lost is left alone",
        leases=replacing(
            "SELECT solve.id", "solve.owner = ? AND solve.id IN", "? IS NULL AND solve.id IN"
        ),
    ),
    Mutant("append without fence and sequence", tree_log=Unfenced),
    Mutant("no room check", checks=False),
    Mutant(
        "no room for an overrun",
        ledger=replacing(
            "SELECT (solve.hold - solve.posted) - solve.inflight",
            "(solve.hold - solve.posted) - solve.inflight",
            "solve.hold + 1000000000",
        ),
    ),
)
