"""Raises of a limit for a while: written once, live until they end by the database's clock.

A CHECK cannot read a clock, so the row that it polices says until when its limit is right. Past
that nothing more is held on it by what was raised: a hold finds out and has the limit set anew,
a growth counts on the standing limit alone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, case, cast, func, insert, literal, select, update

from app.db.base import Instant
from app.db.clock import Clock, now
from app.db.engine import ReadTx, WriteTx
from app.errors import InvalidRequest
from app.ids import uuid7
from app.ledger.tables import Budget, BudgetRaise, BudgetRule
from app.money import NanoUSD

REASON_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Raised:
    """What live raises add to a limit, and when the first of them ends."""

    by: NanoUSD = NanoUSD(0)
    until: datetime | None = None


def raised_now() -> ColumnElement[int]:
    """What the live raises of the query's rule add up to."""
    return (
        select(cast(func.coalesce(func.sum(BudgetRaise.by_nano), 0), BigInteger))
        .where(BudgetRaise.rule_id == BudgetRule.id, BudgetRaise.until > Clock())
        .correlate(BudgetRule)
        .scalar_subquery()
    )


def is_outdated() -> ColumnElement[bool]:
    """Whether a raise that the row's limit counts on has ended."""
    return func.coalesce(Budget.raised_until <= Clock(), False)


async def live(tx: ReadTx, rule_id: str, at: datetime) -> Raised:
    """The raises of a rule that are live at an instant.

    The caller has locked the rule, in a statement of its own: one that had to wait for the lock
    would not see what it waited for.
    """
    raises = await tx.execute(
        select(BudgetRaise.by_nano, BudgetRaise.until).where(
            BudgetRaise.rule_id == rule_id, BudgetRaise.until > at
        )
    )
    rows = raises.all()
    return Raised(NanoUSD(sum(row[0] for row in rows)), min((row[1] for row in rows), default=None))


async def add(tx: WriteTx, rule_id: str, *, by: NanoUSD, until: datetime, reason: str) -> None:
    """Raise a rule's limit for a while, in the open periods at once.

    Raises InvalidRequest for a raise that would never be live, or says nothing.
    """
    if by <= 0:
        raise InvalidRequest("by-usd", "a raise is of more than nothing")
    if not (reason.strip() and reason.isprintable() and len(reason) <= REASON_LENGTH_MAX):
        raise InvalidRequest("reason", f"1 to {REASON_LENGTH_MAX} printable characters")
    # Locked first, so that a period opened meanwhile either knows of the raise or is found here.
    ends = literal(until, Instant())
    last = func.coalesce(BudgetRule.raised_until, ends)
    await tx.execute(
        update(BudgetRule)
        .where(BudgetRule.id == rule_id)
        .values(raised_until=case((last > ends, last), else_=ends))
    )
    if until <= await now(tx):
        raise InvalidRequest("until", "it is over")
    await tx.execute(
        insert(BudgetRaise).values(
            id=f"rse_{uuid7().hex}",
            rule_id=rule_id,
            by_nano=by,
            until=until,
            reason=reason,
            made_at=Clock(),
        )
    )
    await apply(tx, rule_id)


async def renew(tx: WriteTx, rule_id: str) -> None:
    """Set the open periods of a rule to what it allows now that a raise has ended."""
    locked = select(BudgetRule.id).where(BudgetRule.id == rule_id).with_for_update(read=True)
    await tx.execute(locked)
    await apply(tx, rule_id)


async def apply(tx: WriteTx, rule_id: str) -> None:
    """Let the open periods of a rule, which is locked, follow what it allows.

    Never below what they have spent and hold.
    """
    standing = await tx.scalar(select(BudgetRule.limit_nano).where(BudgetRule.id == rule_id))
    assert standing is not None, "a rule is never deleted"
    raised = await live(tx, rule_id, await now(tx))
    used, limit = Budget.posted + Budget.reserved, standing + raised.by
    await tx.execute(
        update(Budget)
        .where(Budget.rule_id == rule_id, Budget.period_end > Clock())
        .values(
            target=standing,
            raised=raised.by,
            raised_until=raised.until,
            lim=case((used > limit, used), else_=limit),
        )
    )
