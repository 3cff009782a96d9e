"""Outcomes that come after their call was closed: as orphaned or cancelled, final for its tenant.

The money is gone all the same. What waited in suspense is taken back, and the operator bears what
the call proved to have cost. The answer is nobody's: another attempt may have given one since.
"""

from typing import Final

from sqlalchemy import bindparam, func, select, update

from app.db.engine import WriteTx
from app.ledger.journal import CallResult, OpenCall, fitting, post
from app.ledger.postings import SUSPENSE, CallState, Share, late_postings, true_cost
from app.ledger.tables import Call, Entry
from app.money import NanoUSD

CLOSED: Final = (CallState.CANCELLED, CallState.ORPHAN)

_REMEMBER: Final = (
    update(Call)
    .where(Call.id == bindparam("call"), Call.state.in_(CLOSED), Call.late_cost.is_(None))
    .where(Call.reconciled_at.is_(None))  # its provider has said by now what it cost
    .values(
        late_cost=bindparam("proved"),
        returned_model=bindparam("answered_by"),
        provider_request_id=bindparam("request_id"),
    )
    .returning(Call.id)
)
_SUSPENDED: Final = select(func.coalesce(func.sum(Entry.amount), 0)).where(
    Entry.call_id == bindparam("call"), Entry.account == SUSPENSE
)


async def book(tx: WriteTx, call: OpenCall, result: CallResult) -> Share | None:
    """Book the cost of a closed call, once; None if there is nothing to book.

    An outcome that does not say what it cost leaves the worst case in suspense.
    """
    cost = true_cost(result.bill)
    if cost is None:
        return None
    remembered = await tx.scalar(
        _REMEMBER,
        {
            "call": call.id,
            "proved": cost,
            "answered_by": fitting(Call.returned_model, result.returned_model),
            "request_id": fitting(Call.provider_request_id, result.provider_request_id),
        },
    )
    if remembered is None:
        return None
    suspended = NanoUSD(int(await tx.scalar(_SUSPENDED, {"call": call.id}) or 0))
    made = late_postings(cost, suspended=suspended, provider=call.provider)
    await post(tx, [(call, posting) for posting in made])
    return Share(NanoUSD(0), platform_loss=cost, late=True)
