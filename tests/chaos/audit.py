"""What must hold afterwards: the ledger's own rules, and the vendor's bill beside its books."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import case, func, select

from app.db.engine import Database, DatabaseUnavailable
from app.ledger.cancelling import LIVE
from app.ledger.invariants import Finding, check
from app.ledger.postings import GAIN, PLATFORM_LOSS, SUSPENSE
from app.ledger.provider_reports import ReportFormat, read_report
from app.ledger.reconciliation import Reconciliation, Report
from app.ledger.tables import Budget, Call, Entry, Solve
from tests.chaos.traffic import Traffic
from tests.chaos.vendor import Vendor

SAMPLE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger says of all solves, in nano-dollars."""

    solves: int
    calls: int
    states: Counter[str]
    billed: int
    suspense: int
    loss: int
    gain: int


class Sampler:
    """Looks at every budget over and over, and keeps whatever was above its limit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.samples = 0
        self.above: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        used = Budget.posted + Budget.reserved
        above = select(Budget.id).where(used > Budget.lim)
        while True:
            try:
                async with self._database.read() as tx:
                    self.above += (await tx.scalars(above)).all()
                self.samples += 1
            except DatabaseUnavailable:
                pass  # it is one of the parts that fail
            await asyncio.sleep(SAMPLE_S)


async def ended(database: Database, *, within_s: float) -> bool:
    """Whether every solve ends in time, now that nothing fails any more."""
    running = select(func.count()).where(Solve.state.in_(LIVE))
    try:
        async with asyncio.timeout(within_s):
            while True:
                async with database.read() as tx:
                    if not await tx.scalar(running):
                        return True
                await asyncio.sleep(0.2)
    except TimeoutError:
        return False


async def books(database: Database) -> Books:
    """The sums."""
    async with database.read() as tx:
        states = await tx.execute(select(Call.state, func.count()).group_by(Call.state))
        counted = Counter({state: number for state, number in states.all()})  # noqa: C416 - rows
        sums = select(
            func.coalesce(func.sum(case((Entry.account.like("tenant:%"), Entry.amount))), 0),
            func.coalesce(func.sum(case((Entry.account == SUSPENSE, Entry.amount))), 0),
            func.coalesce(func.sum(case((Entry.account == PLATFORM_LOSS, Entry.amount))), 0),
            func.coalesce(func.sum(case((Entry.account == GAIN, Entry.amount))), 0),
        )
        billed, suspense, loss, gain = (await tx.execute(sums)).one()
        solves = await tx.scalar(select(func.count()).select_from(Solve)) or 0
    return Books(solves, counted.total(), counted, int(billed), int(suspense), int(loss), int(gain))


async def findings(
    database: Database, vendor: Vendor, traffic: Traffic, sampler: Sampler
) -> Sequence[Finding]:
    """Every rule, the ledger's and those that need a witness."""
    found = await books(database)
    charged = sum(charge.cost for charge in vendor.charges)
    async with database.read() as tx:
        live = (await tx.scalars(select(Solve.id).where(Solve.state.in_(LIVE)))).all()
        held = (await tx.scalars(select(Budget.id).where(Budget.reserved != 0))).all()
        known = set((await tx.scalars(select(Solve.id))).all())
        journalled = Counter(str(one) for one in await tx.scalars(_REQUEST_IDS))
    double = [name for name, solves in traffic.solves.items() if len(solves) > 1]
    ids = {charge.request_id for charge in vendor.charges}
    twice = [request_id for request_id, rows in journalled.items() if rows > 1]
    return [
        *await check(database),
        _finding("every solve has ended", live),
        _finding("nothing is held when all is idle", held),
        _finding("no budget was ever above its limit", sampler.above),
        _finding("what was accepted is on record", sorted(traffic.accepted - known)),
        _finding("a key that was answered names one solve", double),
        _finding("a charge is journalled once", twice),
        _finding("what was journalled was charged", sorted(journalled.keys() - ids)),
        _finding(
            "suspense and loss cover what was charged and not billed",
            []
            if found.suspense + found.loss >= charged - found.billed
            else [f"{found.suspense} + {found.loss} < {charged} - {found.billed}"],
        ),
    ]


async def reconciled(database: Database, vendor: Vendor) -> Sequence[Finding]:
    """Import the vendor's own report, twice, and see that it and the books are one."""
    began = min(charge.at for charge in vendor.charges) - timedelta(hours=1)
    text = vendor.report()
    report = Report(
        "upstream",
        "chaos.csv",
        text.encode(),
        read_report(text, ReportFormat.CSV),
        (began, datetime.now(UTC) + timedelta(hours=1)),
    )
    await Reconciliation(database).run(report)
    once = await books(database)
    await Reconciliation(database).run(report)
    found = await books(database)
    charged = sum(charge.cost for charge in vendor.charges)
    paid = found.billed + found.loss + found.gain
    return [
        *await check(database),
        _finding("a report counts once", [] if once == found else [f"{once} {found}"]),
        _finding("nothing waits in suspense", [] if found.suspense == 0 else [str(found.suspense)]),
        _finding(
            "what was charged is billed, lost or gained, to the nano-dollar",
            [] if paid == charged else [f"{paid}, not {charged}"],
        ),
    ]


_REQUEST_IDS: Final = select(Call.provider_request_id).where(
    Call.provider_request_id.is_not(None), Call.provider_request_id != "req_1"
)
"""Of calls that were answered in full; a refusal's id is the same for all."""


def _finding(name: str, offenders: Sequence[str]) -> Finding:
    return Finding(name, not offenders, ", ".join(offenders[:5]))
