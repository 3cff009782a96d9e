"""Who pays for a call, as double entries. Pure: facts in, entries out; every kind sums to zero.

Accounts: `tenant:<id>` pays, `provider:<name>` is owed, `platform_loss` is what the operator bears,
`suspense` is what may have been charged upstream and is settled by reconciliation. `credits` is
what the operator gave back to tenants: it stands apart from what calls cost. `gain` is what a
provider charged less than was billed for it, as a negative balance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.money import NanoUSD

PLATFORM_LOSS: Final = "platform_loss"
SUSPENSE: Final = "suspense"
CREDITS: Final = "credits"
GAIN: Final = "gain"
NOTHING: Final = NanoUSD(0)


class CallState(StrEnum):
    """An upstream call's life: an intent ends in exactly one of the others."""

    INTENT = "intent"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Bill:
    """What is known about the charge of an ended call, in nano-dollars.

    `billed` is the price of the usage that the provider reported, None when it reported none;
    `counted` is our own estimate, used only for an answer without usage. `may_have_worked` says
    that the request's bytes may have reached a model.
    """

    state: CallState
    billed: NanoUSD | None
    counted: NanoUSD = NOTHING
    may_have_worked: bool = True


@dataclass(frozen=True, slots=True)
class Share:
    """How the cost of one call is split, in nano-dollars: tenant, operator, not yet known.

    `late`: the call had been closed before, so that its answer is nobody's.
    """

    tenant: NanoUSD
    platform_loss: NanoUSD = NOTHING
    suspense: NanoUSD = NOTHING
    late: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of a double entry."""

    kind: str
    account: str
    amount: NanoUSD


def share(bill: Bill, *, max_cost: NanoUSD, room: NanoUSD) -> Share:
    """Split the charge of one call.

    With usage the tenant pays it, up to what was ever held for it: `room` is what the solve still
    holds beside its calls in flight. Beyond that no CHECK could be met, so the operator bears the
    overrun and no outcome is ever refused. An answer without usage costs what we counted, at most
    `max_cost`; without an answer the tenant pays nothing. What the provider may yet charge waits in
    suspense.
    """
    if bill.billed is not None:
        paid = NanoUSD(min(bill.billed, max_cost + room))
        return Share(paid, platform_loss=NanoUSD(bill.billed - paid))
    if bill.state is CallState.OK:
        paid = NanoUSD(min(bill.counted, max_cost))
        return Share(paid, suspense=NanoUSD(max_cost - paid))
    return Share(NOTHING, suspense=max_cost if bill.may_have_worked else NOTHING)


def tenant_account(tenant_id: str) -> str:
    """The account that a tenant's charges are posted to."""
    return f"tenant:{tenant_id}"


def provider_account(name: str) -> str:
    """The account of what a provider is owed."""
    return f"provider:{name}"


def postings(split: Share, *, tenant_id: str, provider: str) -> Sequence[Posting]:
    """The double entries of one call; nothing is posted for an amount of zero."""
    return _against(
        provider,
        [
            ("charge", tenant_account(tenant_id), split.tenant),
            ("overrun", PLATFORM_LOSS, split.platform_loss),
            ("suspense", SUSPENSE, split.suspense),
        ],
    )


def true_cost(bill: Bill) -> NanoUSD | None:
    """What a call has cost, whoever pays; None where nobody knows yet."""
    if bill.billed is not None:
        return bill.billed
    is_certain = bill.state is not CallState.OK and not bill.may_have_worked
    return NOTHING if is_certain else None


def late_postings(cost: NanoUSD, *, suspended: NanoUSD, provider: str) -> Sequence[Posting]:
    """The double entries of a cost that is known once the call is closed.

    What was `suspended` for it is taken back. The tenant's part is final, so the operator bears
    the cost.
    """
    return _against(
        provider,
        [("reversal", SUSPENSE, NanoUSD(-suspended)), ("late", PLATFORM_LOSS, cost)],
    )


def credit_postings(kind: str, credit: NanoUSD, *, tenant_id: str) -> Sequence[Posting]:
    """The double entries of a credit; a negative one is a debit."""
    return [
        Posting(kind, tenant_account(tenant_id), NanoUSD(-credit)),
        Posting(kind, CREDITS, credit),
    ]


def settled_postings(*, suspended: NanoUSD, provider: str) -> Sequence[Posting]:
    """The double entries that end what waited in suspense."""
    return _against(provider, [("reversal", SUSPENSE, NanoUSD(-suspended))])


def difference_postings(kind: str, difference: NanoUSD, *, provider: str) -> Sequence[Posting]:
    """The double entries of what a provider charged beyond what was booked: the operator's loss.

    What it charged less is a gain. The tenant's part is final either way.
    """
    bearer = PLATFORM_LOSS if difference > 0 else GAIN
    return _against(provider, [(kind, bearer, difference)])


def _against(provider: str, debits: Iterable[tuple[str, str, NanoUSD]]) -> Sequence[Posting]:
    return [
        Posting(kind, account, amount)
        for kind, debtor, owed in debits
        if owed
        for account, amount in ((debtor, owed), (provider_account(provider), NanoUSD(-owed)))
    ]
