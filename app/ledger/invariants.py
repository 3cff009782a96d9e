"""What must hold of the books at any moment, as queries that find whatever breaks a rule.

Run after every test of a fault, and by an operator at any time: all rules see one state of the
database, however busy it is, and nothing is locked or changed.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, and_, func, literal, not_, null, or_, select, union_all

from app.db.engine import Database, ReadTx
from app.ledger import batch_rules, finance_rules, inheritance_rules, notice_rules
from app.ledger.batch_tables import BatchLineRow
from app.ledger.cancelling import LIVE
from app.ledger.late import CLOSED
from app.ledger.limits import TOKENS, Given, tokens_given
from app.ledger.postings import PLATFORM_LOSS, SUSPENSE, CallState, tenant_account
from app.ledger.quotas import Unit
from app.ledger.tables import Budget, BudgetRule, Call, Entry, LimitWindow, Solve

SHOWN_MAX: Final = 5
"""How many offenders a finding names."""

Query = Select[*tuple[Any, ...]]

Rule = Callable[[ReadTx], Awaitable[Sequence[str]]]
"""Names what breaks it; more than SHOWN_MAX need not be named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a rule holds; `detail` names rows that break it."""

    name: str
    holds: bool
    detail: str


async def check(database: Database) -> Sequence[Finding]:
    """Try every rule, whatever the earlier ones found."""
    async with database.read() as tx:
        return [_finding(name, await rule(tx)) for name, rule in RULES.items()]


def _finding(name: str, offenders: Sequence[str]) -> Finding:
    more = ", ..." if len(offenders) > SHOWN_MAX else ""
    return Finding(name, not offenders, ", ".join(offenders[:SHOWN_MAX]) + more)


def _none(query: Query) -> Rule:
    """The rule that a query finds no row; a row is named by its columns."""
    shown = query.limit(SHOWN_MAX + 1)

    async def rule(tx: ReadTx) -> Sequence[str]:
        rows = await tx.execute(shown)
        return [" ".join(str(column) for column in row) for row in rows.all()]

    return rule


async def _budgets_add_up(tx: ReadTx) -> Sequence[str]:
    """Each row is what the solves that list it spent (ended) and hold (live).

    Joined here and not in SQL, where the two databases take a JSON list apart differently.
    """
    posted: dict[str, int] = defaultdict(int)
    reserved: dict[str, int] = defaultdict(int)
    solves = select(Solve.completed_at.is_(None), Solve.budgets, Solve.hold, Solve.posted)
    async for live, budgets, hold, spent in await tx.stream(solves):
        for budget_id in budgets:
            reserved[budget_id] += hold if live else 0
            posted[budget_id] += 0 if live else spent
    offenders: list[str] = []
    async for budget_id, has_posted, has_reserved in await tx.stream(
        select(Budget.id, Budget.posted, Budget.reserved)
    ):
        due = posted.pop(budget_id, 0), reserved.pop(budget_id, 0)
        if (has_posted, has_reserved) != due:
            offenders.append(f"{budget_id} has {has_posted}+{has_reserved}, not {due[0]}+{due[1]}")
    return [*offenders, *(f"{missing} is missing" for missing in posted)]


async def _budgets_bound_their_own(tx: ReadTx) -> Sequence[str]:
    """A solve draws on budgets of its own organisation, tenant, project, key, session and batch."""
    rules = select(Budget.id, BudgetRule.scope, BudgetRule.scope_id, Budget.session)
    found = await tx.execute(rules.join(BudgetRule, BudgetRule.id == Budget.rule_id))
    bounded = {budget: tuple(bound) for budget, *bound in found.all()}
    solves = select(
        Solve.id,
        Solve.budgets,
        Solve.org_id,
        Solve.tenant_id,
        Solve.project_id,
        Solve.key_id,
        Solve.session,
        BatchLineRow.batch_id,
    ).outerjoin(BatchLineRow, BatchLineRow.solve_id == Solve.id)
    offenders: list[str] = []
    async for solve, budgets, org, tenant, project, key, session, batch in await tx.stream(solves):
        own: set[tuple[object, ...]] = {
            ("org", org, ""),
            ("tenant", tenant, ""),
            ("project", project, ""),
            ("key", key, ""),
            ("session", tenant, session),
            ("batch", batch, ""),
        }
        offenders += [
            f"{solve} draws on {budget}"
            for budget in budgets
            if budget in bounded and bounded[budget] not in own
        ]
    return offenders


async def _limits_add_up(tx: ReadTx) -> Sequence[str]:
    """Each window counts what the solves that list it used (ended) and hold (live)."""
    tokens: dict[str, list[tuple[Sequence[str] | None, Given]]] = defaultdict(list)
    for row in (await tx.execute(TOKENS)).all():
        tokens[row.solve_id].append((row.limit_windows, tokens_given(row)))
    used: dict[str, int] = defaultdict(int)
    held: dict[str, int] = defaultdict(int)
    solves = select(Solve.id, Solve.completed_at.is_(None), Solve.limits)
    async for solve, live, limits in await tx.stream(solves):
        if not limits:
            continue
        lots: list[tuple[Sequence[str], Given]]
        lots = [(limits[Unit.REQUESTS], Given(1, 1)), (limits[Unit.CONCURRENT], Given(1, 0))]
        lots += [(own or limits[Unit.TOKENS], given) for own, given in tokens[solve]]
        for windows, given in lots:
            for window in windows:
                held[window] += given.held if live else 0
                used[window] += 0 if live else given.used
    found = await tx.execute(select(LimitWindow.id, LimitWindow.used, LimitWindow.held))
    return [
        f"{window} has {has_used}+{has_held}, not {used[window]}+{held[window]}"
        for window, has_used, has_held in found.all()
        if (has_used, has_held) != (used[window], held[window])
    ]


def _over_count() -> Query:
    count = LimitWindow.used + LimitWindow.held
    negative = or_(LimitWindow.used < 0, LimitWindow.held < 0)
    return select(LimitWindow.id).where(or_(count > LimitWindow.lim, negative))


def _over_limit() -> Query:
    over = Budget.posted + Budget.reserved > Budget.lim
    return select(Budget.id).where(or_(over, Budget.posted < 0, Budget.reserved < 0))


def _total() -> Query:
    total = select(func.sum(Entry.amount).label("nano")).subquery()
    return select(total.c.nano).where(total.c.nano != 0)


def _one_sided() -> Query:
    about = func.coalesce(Entry.call_id, Entry.correction_id)
    kinds = select(about, Entry.kind).group_by(about, Entry.kind)
    return kinds.having(func.sum(Entry.amount) != 0)


def _charged_twice() -> Query:
    charges = select(Entry.call_id).where(Entry.kind == "charge", Entry.amount > 0)
    return charges.group_by(Entry.call_id).having(func.count() > 1)


def _charged_to_another() -> Query:
    payer = literal(tenant_account("")) + Solve.tenant_id
    charges = select(Entry.call_id, Entry.account).join(Call, Call.id == Entry.call_id)
    return charges.join(Solve, Solve.id == Call.solve_id).where(
        Entry.kind == "charge", Entry.amount > 0, Entry.account != payer
    )


def _cost_is_not_the_charge() -> Query:
    charges = (
        select(Entry.call_id, func.sum(Entry.amount).label("nano"))
        .where(Entry.kind == "charge", Entry.amount > 0)
        .group_by(Entry.call_id)
        .subquery()
    )
    joined = select(Call.id).outerjoin(charges, charges.c.call_id == Call.id)
    return joined.where(Call.cost != func.coalesce(charges.c.nano, 0))


def _posted_is_not_the_cost_of_calls() -> Query:
    calls = (
        select(Call.solve_id, func.sum(Call.cost).label("nano")).group_by(Call.solve_id).subquery()
    )
    joined = select(Solve.id).outerjoin(calls, calls.c.solve_id == Solve.id)
    return joined.where(Solve.posted != func.coalesce(calls.c.nano, 0))


def _charges_are_not_posted() -> Query:
    payer = literal(tenant_account("")) + Solve.tenant_id
    both = union_all(
        select(Entry.account.label("account"), Entry.amount.label("nano")).where(
            Entry.kind == "charge", Entry.account.startswith(tenant_account(""), autoescape=True)
        ),
        select(payer.label("account"), -Solve.posted),
    ).subquery()
    return select(both.c.account).group_by(both.c.account).having(func.sum(both.c.nano) != 0)


def _suspense_is_not_what_is_unknown() -> Query:
    suspended = (
        select(Entry.call_id, func.sum(Entry.amount).label("nano"))
        .where(Entry.account == SUSPENSE)
        .group_by(Entry.call_id)
        .subquery()
    )
    waits = func.coalesce(suspended.c.nano, 0)
    is_known = or_(Call.late_cost.is_not(None), Call.reconciled_at.is_not(None))
    joined = select(Call.id).outerjoin(suspended, suspended.c.call_id == Call.id)
    return joined.where(
        or_(
            waits < 0,
            and_(waits > 0, or_(is_known, waits + Call.cost > Call.max_cost)),
            and_(Call.state == CallState.ORPHAN, not_(is_known), waits != Call.max_cost),
        )
    )


def _late_cost_is_not_the_loss() -> Query:
    borne = (
        select(Entry.call_id, func.sum(Entry.amount).label("nano"))
        .where(Entry.kind == "late", Entry.account == PLATFORM_LOSS)
        .group_by(Entry.call_id)
        .subquery()
    )
    is_final = and_(Call.state.in_(CLOSED), Call.cost == 0)
    joined = select(Call.id).outerjoin(borne, borne.c.call_id == Call.id)
    return joined.where(
        or_(
            func.coalesce(Call.late_cost, 0) != func.coalesce(borne.c.nano, 0),
            and_(Call.late_cost.is_not(None), not_(is_final)),
        )
    )


def _inflight_is_not_the_open_calls() -> Query:
    calls = (
        select(Call.solve_id, func.sum(Call.max_cost).label("nano"))
        .where(Call.state == CallState.INTENT)
        .group_by(Call.solve_id)
        .subquery()
    )
    joined = select(Solve.id).outerjoin(calls, calls.c.solve_id == Solve.id)
    return joined.where(Solve.inflight != func.coalesce(calls.c.nano, 0))


def _beyond_its_hold() -> Query:
    return select(Solve.id).where(
        or_(Solve.posted + Solve.inflight > Solve.hold, Solve.hold > Solve.cap)
    )


def _ended_with_something_open() -> Query:
    ended = Solve.completed_at.is_not(None)
    calls = select(Call.id).where(Call.solve_id == Solve.id, Call.state == CallState.INTENT)
    return select(Solve.id).where(
        ended, or_(Solve.inflight != 0, Solve.hold != Solve.posted, calls.exists())
    )


def _neither_live_nor_ended() -> Query:
    live, ended = Solve.state.in_(LIVE), Solve.completed_at.is_not(None)
    return select(Solve.id).where(or_(and_(live, ended), and_(not_(live), not_(ended))))


def _answered_twice() -> Query:
    answered = select(Call.solve_id, Call.op).where(Call.state == CallState.OK)
    return answered.group_by(Call.solve_id, Call.op).having(func.count() > 1)


def _number_used_twice() -> Query:
    # Every attempt of a trial carries the one event that asked for it.
    asked = select(Call.solve_id, Call.asked_seq.label("seq"), Call.ask).distinct()
    told = select(Call.solve_id, Call.told_seq, null()).where(Call.told_seq.is_not(None))
    events = union_all(asked.where(Call.asked_seq.is_not(None)), told).subquery()
    numbers = select(events.c.solve_id, events.c.seq).group_by(events.c.solve_id, events.c.seq)
    return numbers.having(func.count() > 1)


MORE: Final[Mapping[str, Query]] = {
    **inheritance_rules.QUERIES,
    **finance_rules.QUERIES,
    **batch_rules.QUERIES,
    **notice_rules.QUERIES,
}

RULES: Final[Mapping[str, Rule]] = {
    "what is posted and reserved fits every budget": _none(_over_limit()),
    "a budget has what its solves posted and hold": _budgets_add_up,
    "a solve draws on budgets of its own alone": _budgets_bound_their_own,
    "what is counted fits every limit": _none(_over_count()),
    "a limit counts what its solves used and hold": _limits_add_up,
    "all entries sum to zero": _none(_total()),
    "the entries of a call's or correction's kind sum to zero": _none(_one_sided()),
    "no call is charged twice": _none(_charged_twice()),
    "a charge is its own tenant's": _none(_charged_to_another()),
    "a call costs what was charged for it": _none(_cost_is_not_the_charge()),
    "a solve posted what its calls cost": _none(_posted_is_not_the_cost_of_calls()),
    "a tenant was charged what its solves posted": _none(_charges_are_not_posted()),
    "what waits in suspense is what calls may yet cost": _none(_suspense_is_not_what_is_unknown()),
    "what a call cost late is the operator's loss": _none(_late_cost_is_not_the_loss()),
    "what is in flight is what open calls may cost": _none(_inflight_is_not_the_open_calls()),
    "a solve stays within its hold, and that within its cap": _none(_beyond_its_hold()),
    "an ended solve has nothing open and holds nothing": _none(_ended_with_something_open()),
    "a solve has ended when its state says so": _none(_neither_live_nor_ended()),
    "an op is answered once": _none(_answered_twice()),
    "a search's events have numbers of their own": _none(_number_used_twice()),
    **{name: _none(query) for name, query in MORE.items()},
}
