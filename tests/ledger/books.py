"""Short words for what a ledger is told, so that a test shows its amounts and nothing else."""

from sqlalchemy import func, insert, select, update

from app.db.clock import Ago, Clock
from app.db.engine import Database, WriteTx
from app.ids import SolveId, solve_id
from app.ledger.budgets import Account
from app.ledger.endings import Ending
from app.ledger.invariants import check
from app.ledger.journal import CallResult, Intent, TrialPlace
from app.ledger.ledger import Ledger
from app.ledger.openings import Claim, Opening
from app.ledger.postings import Bill, CallState
from app.ledger.tables import Budget, BudgetRule, Call, Entry, Solve
from app.money import NanoUSD

CAP = NanoUSD(1_000_000)
"""More than any test here spends; nano-dollars."""


def nano(amount: int) -> NanoUSD:
    """An amount."""
    return NanoUSD(amount)


def opening(
    account: Account,
    hold: int,
    *,
    cap: int = CAP,
    solve: SolveId | None = None,
    first: Intent | None = None,
) -> Opening:
    """A solve that holds `hold` at first."""
    return Opening(
        solve_id=solve_id() if solve is None else solve,
        account=account,
        cap=nano(cap),
        first_hold=nano(hold),
        request={"input": "What is 17 * 23?"},
        plan={"mode": "single"},
        owner="replica-1",
        first=first,
    )


def intent(
    claim: Claim,
    op: str = "gate.first",
    *,
    max_cost: int,
    attempt: int = 1,
    trial: TrialPlace | None = None,
) -> Intent:
    """A call that may cost `max_cost`."""
    return Intent(
        call_id=f"{claim.solve_id}:{op}:{attempt}",
        op=op,
        attempt=attempt,
        expert="cheap",
        expert_version="00000000",
        provider="scripted",
        model="cheap-1",
        price_version="prc_0000000000000000",
        prompt_sha256="0" * 64,
        max_cost=nano(max_cost),
        trial=trial,
    )


def answered(billed: int, text: str = "391") -> CallResult:
    """An answer that the provider bills."""
    return CallResult(Bill(CallState.OK, nano(billed)), text=text)


def unbilled(counted: int) -> CallResult:
    """An answer whose provider reported no usage."""
    return CallResult(Bill(CallState.OK, None, counted=nano(counted)), text="391")


def failed(*, may_have_worked: bool) -> CallResult:
    """No answer."""
    bill = Bill(CallState.FAILED, None, may_have_worked=may_have_worked)
    return CallResult(bill, error="the provider failed")


def ending(state: str = "completed", *, erase: bool = False) -> Ending:
    """The end of a solve."""
    return Ending(
        state=state,
        route="single",
        result={"status": state},
        texts={"answer": "391"},
        erase=erase,
    )


def stale(claim: Claim) -> Claim:
    """The claim that this one replaced."""
    return Claim(claim.solve_id, claim.account, claim.token - 1)


async def call(
    ledger: Ledger,
    claim: Claim,
    result: CallResult,
    *,
    op: str = "gate.first",
    max_cost: int,
    grow: int = 0,
) -> Intent:
    """An intent and its outcome."""
    made = intent(claim, op, max_cost=max_cost)
    await ledger.intend(claim, made, grow=nano(grow))
    await ledger.settle_call(claim, made, result)
    return made


async def levels(database: Database, account: Account) -> list[tuple[int, int]]:
    """(posted, reserved) of each budget row, the tenant's before the key's."""
    query = (
        select(Budget.posted, Budget.reserved)
        .where(Budget.tenant_id == account.tenant_id)
        .order_by(Budget.id)
    )
    async with database.read() as tx:
        return [(posted, reserved) for posted, reserved in (await tx.execute(query)).all()]


async def solve_row(database: Database, claim: Claim) -> tuple[int, int, int, str]:
    """(hold, posted, inflight, state) of a solve."""
    query = select(Solve.hold, Solve.posted, Solve.inflight, Solve.state)
    async with database.read() as tx:
        row = (await tx.execute(query.where(Solve.id == claim.solve_id))).one()
    return (row[0], row[1], row[2], row[3])


async def call_states(database: Database, claim: Claim) -> dict[str, str]:
    """The state of each call of a solve, by its op."""
    query = select(Call.op, Call.state).where(Call.solve_id == claim.solve_id)
    async with database.read() as tx:
        return {op: state for op, state in (await tx.execute(query)).all()}  # noqa: C416 - rows


async def balances(database: Database, claim: Claim) -> dict[str, int]:
    """The balance of each account, by its kind, over the calls of one solve."""
    query = (
        select(Entry.account, func.sum(Entry.amount))
        .where(Entry.solve_id == claim.solve_id)
        .group_by(Entry.account)
    )
    async with database.read() as tx:
        rows = (await tx.execute(query)).all()
    return {account.partition(":")[0]: int(amount) for account, amount in rows}


async def open_earlier_period(database: Database, account: Account) -> None:
    """Open a period that began two days ago and still covers now, in every budget."""
    query = select(BudgetRule.id, BudgetRule.tenant_id, BudgetRule.limit_nano)

    async def work(tx: WriteTx) -> None:
        rules = await tx.execute(query.where(BudgetRule.tenant_id == account.tenant_id))
        for rule_id, tenant_id, limit in rules.all():
            await tx.execute(
                insert(Budget).values(
                    id=f"{rule_id}:earlier",
                    rule_id=rule_id,
                    tenant_id=tenant_id,
                    period_start=Ago(2 * 86_400.0),
                    period_end=Ago(-2 * 86_400.0),
                    lim=limit,
                )
            )

    await database.write(work)


async def end_earlier_period(database: Database) -> None:
    """Let the period of `open_earlier_period` end now."""

    async def work(tx: WriteTx) -> None:
        earlier = Budget.id.endswith(":earlier")
        await tx.execute(update(Budget).where(earlier).values(period_end=Clock()))

    await database.write(work)


async def count(database: Database, claim: Claim) -> int:
    """How many solves have the claim's id."""
    query = select(func.count()).where(Solve.id == claim.solve_id)
    async with database.read() as tx:
        return int(await tx.scalar(query) or 0)


async def assert_books_hold(database: Database) -> None:
    """Every invariant holds."""
    broken = [finding for finding in await check(database) if not finding.holds]
    assert broken == []
