"""What must hold of batches at any moment, as queries that find whatever breaks a rule."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, and_, case, func, or_, select

from app.ledger.batch_tables import BatchLineRow, BatchRow
from app.ledger.batches import ENDED_WELL, FAILED, IN_PROGRESS, TAKEN, WAITING
from app.ledger.tables import Budget, BudgetRule, Solve

OPEN_STATES = (IN_PROGRESS, "finalizing", "cancelling")

Query = Select[*tuple[Any, ...]]


def not_what_its_lines_cost() -> Query:
    """Batches whose budget is not what their lines' solves posted and hold, or not their cap."""
    is_live = Solve.completed_at.is_(None)
    lines = (
        select(
            BatchLineRow.batch_id,
            func.sum(case((is_live, 0), else_=Solve.posted)).label("posted"),
            func.sum(case((is_live, Solve.hold), else_=0)).label("reserved"),
        )
        .join(Solve, Solve.id == BatchLineRow.solve_id)
        .group_by(BatchLineRow.batch_id)
        .subquery()
    )
    return (
        select(BatchRow.id)
        .outerjoin(lines, lines.c.batch_id == BatchRow.id)
        .outerjoin(
            BudgetRule, and_(BudgetRule.scope == "batch", BudgetRule.scope_id == BatchRow.id)
        )
        .outerjoin(Budget, Budget.rule_id == BudgetRule.id)
        .where(
            or_(
                func.coalesce(Budget.posted, 0) != func.coalesce(lines.c.posted, 0),
                func.coalesce(Budget.reserved, 0) != func.coalesce(lines.c.reserved, 0),
                func.coalesce(Budget.lim, BatchRow.cap) != BatchRow.cap,
            )
        )
    )


def ended_too_soon() -> Query:
    """Batches that ended with a line open, or not when their state says, or lost a line."""
    open_line = select(BatchLineRow.number).where(
        BatchLineRow.batch_id == BatchRow.id, BatchLineRow.state.in_((WAITING, TAKEN))
    )
    lines = (
        select(func.count())
        .where(BatchLineRow.batch_id == BatchRow.id)
        .correlate(BatchRow)
        .scalar_subquery()
    )
    ended = BatchRow.ended_at.is_not(None)
    return select(BatchRow.id).where(
        or_(
            and_(ended, open_line.exists()),
            and_(ended, BatchRow.state.in_(OPEN_STATES)),
            and_(~ended, BatchRow.state.not_in(OPEN_STATES)),
            BatchRow.total != lines,
        )
    )


def ended_unlike_its_solve() -> Query:
    """Lines that ended well without a solve that ended, or at all before their solve."""
    ended = BatchLineRow.state.in_((ENDED_WELL, FAILED))
    return (
        select(BatchLineRow.batch_id, BatchLineRow.number)
        .outerjoin(Solve, Solve.id == BatchLineRow.solve_id)
        .where(
            or_(
                and_(BatchLineRow.state == ENDED_WELL, Solve.completed_at.is_(None)),
                and_(ended, Solve.id.is_not(None), Solve.completed_at.is_(None)),
            )
        )
    )


QUERIES: Final[Mapping[str, Query]] = {
    "a batch's budget is what its lines cost and hold": not_what_its_lines_cost(),
    "a batch has all its lines, and ends after them": ended_too_soon(),
    "a line ends after its solve, and not well without one": ended_unlike_its_solve(),
}
