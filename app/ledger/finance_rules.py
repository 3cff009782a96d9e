"""What must hold of what is posted after the fact: credits, and what closes the books of a month.

Queries, each of which finds whatever breaks its rule; `invariants` tries them with all the others.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select

from app.db.clock import MonthOf
from app.ledger.corrections import ADJUSTMENT, REFUND
from app.ledger.finance_tables import ProviderReport, ProviderReportLine, StatementRow
from app.ledger.postings import GAIN, tenant_account
from app.ledger.tables import Call, Correction, Entry, Solve

Query = Select[*tuple[Any, ...]]


def _refunded_beyond_its_charge() -> Query:
    given = (
        select(Correction.call_id, func.sum(-Entry.amount).label("nano"))
        .join(
            Entry, and_(Entry.correction_id == Correction.id, Entry.account == Correction.account)
        )
        .where(Correction.kind == REFUND)
        .group_by(Correction.call_id)
        .subquery()
    )
    joined = select(Call.id).join(given, given.c.call_id == Call.id)
    return joined.where(or_(given.c.nano > Call.cost, given.c.nano < 0))


def _refunded_to_another() -> Query:
    payer = literal(tenant_account("")) + Solve.tenant_id
    refunds = select(Correction.id).join(Call, Call.id == Correction.call_id)
    return refunds.join(Solve, Solve.id == Call.solve_id).where(
        Correction.kind == REFUND,
        or_(Correction.account != payer, Correction.solve_id != Call.solve_id),
    )


def _corrected_by_nothing() -> Query:
    posted = (
        select(Entry.correction_id, func.sum(Entry.amount).label("nano"))
        .join(Correction, and_(Correction.id == Entry.correction_id, Correction.kind == Entry.kind))
        .where(Entry.account == Correction.account)
        .group_by(Entry.correction_id)
        .subquery()
    )
    joined = select(Correction.id).outerjoin(posted, posted.c.correction_id == Correction.id)
    return joined.where(
        Correction.kind.in_((REFUND, ADJUSTMENT)), func.coalesce(posted.c.nano, 0) == 0
    )


def _neither_charge_nor_credit() -> Query:
    return select(Entry.id).where(
        Entry.account.startswith(tenant_account(""), autoescape=True),
        or_(
            Entry.kind.not_in(("charge", REFUND, ADJUSTMENT)),
            and_(Entry.kind == "charge", Entry.amount < 0),
            and_(Entry.kind == "charge", Entry.call_id.is_(None)),
        ),
    )


def _closed_month_changed() -> Query:
    credits_ = -Entry.amount
    posted = (
        select(
            Entry.account.label("account"),
            MonthOf(Entry.posted_at.expression).label("month"),
            _sum_of("charge", Entry.amount.expression).label("charges"),
            _sum_of(REFUND, credits_).label("refunds"),
            _sum_of(ADJUSTMENT, credits_).label("adjustments"),
        )
        .where(Entry.account.startswith(tenant_account(""), autoescape=True))
        .group_by(Entry.account, MonthOf(Entry.posted_at.expression))
        .subquery()
    )
    whose = literal(tenant_account("")) + StatementRow.tenant_id
    joined = select(StatementRow.tenant_id, StatementRow.month).outerjoin(
        posted, and_(posted.c.account == whose, posted.c.month == StatementRow.month)
    )
    return joined.where(
        or_(
            StatementRow.charges != func.coalesce(posted.c.charges, 0),
            StatementRow.refunds != func.coalesce(posted.c.refunds, 0),
            StatementRow.adjustments != func.coalesce(posted.c.adjustments, 0),
        )
    )


def _sum_of(kind: str, amount: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.sum(case((Entry.kind == kind, amount), else_=0))


def _report_is_not_what_was_posted() -> Query:
    said = (
        select(
            ProviderReportLine.report_id,
            func.sum(ProviderReportLine.reported - ProviderReportLine.known).label("nano"),
        )
        .group_by(ProviderReportLine.report_id)
        .subquery()
    )
    posted = (
        select(Correction.reference, func.sum(-Entry.amount).label("nano"))
        .join(
            Entry, and_(Entry.correction_id == Correction.id, Entry.account == Correction.account)
        )
        .where(Correction.kind == "reconciliation")
        .group_by(Correction.reference)
        .subquery()
    )
    joined = select(ProviderReport.id).outerjoin(said, said.c.report_id == ProviderReport.id)
    joined = joined.outerjoin(posted, posted.c.reference == ProviderReport.id)
    return joined.where(func.coalesce(said.c.nano, 0) != func.coalesce(posted.c.nano, 0))


def _gain_that_is_a_loss() -> Query:
    return select(Entry.id).where(Entry.account == GAIN, Entry.amount > 0)


QUERIES: Final[Mapping[str, Query]] = {
    "no call is refunded beyond its charge": _refunded_beyond_its_charge(),
    "a refund is its own tenant's": _refunded_to_another(),
    "a credit is posted with its reason": _corrected_by_nothing(),
    "a tenant's account has charges and credits alone": _neither_charge_nor_credit(),
    "a closed month is what was posted in it": _closed_month_changed(),
    "a provider's report differs by what was posted for it": _report_is_not_what_was_posted(),
    "a gain is no loss": _gain_that_is_a_loss(),
}
