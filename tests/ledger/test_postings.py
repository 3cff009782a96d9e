from hypothesis import given
from hypothesis import strategies as st

from app.ledger.postings import (
    PLATFORM_LOSS,
    SUSPENSE,
    Bill,
    CallState,
    Share,
    late_postings,
    postings,
    share,
    tenant_account,
    true_cost,
)
from app.money import NanoUSD

amounts = st.integers(0, 10**15).map(NanoUSD)
ended = st.sampled_from([CallState.OK, CallState.FAILED, CallState.CANCELLED, CallState.ORPHAN])
bills = st.builds(
    Bill, state=ended, billed=st.none() | amounts, counted=amounts, may_have_worked=st.booleans()
)
shares = st.builds(Share, amounts, amounts, amounts)


@given(bills, amounts, amounts)
def test_tenant_never_pays_more_than_was_held(bill: Bill, max_cost: NanoUSD, room: NanoUSD) -> None:
    """Neither more than the call's worst case and what is free, nor a negative amount."""
    split = share(bill, max_cost=max_cost, room=room)
    assert 0 <= split.tenant <= max_cost + room
    assert split.platform_loss >= 0
    assert split.suspense >= 0


@given(bills, amounts, amounts)
def test_nothing_that_was_billed_is_lost(bill: Bill, max_cost: NanoUSD, room: NanoUSD) -> None:
    """A bill is split between tenant and operator; without one the worst case is covered."""
    split = share(bill, max_cost=max_cost, room=room)
    if bill.billed is not None:
        assert split.tenant + split.platform_loss == bill.billed
        assert split.suspense == 0
    elif bill.state is CallState.OK or bill.may_have_worked:
        assert split.tenant + split.suspense == max_cost
        assert split.platform_loss == 0
    else:
        assert split == Share(NanoUSD(0))


@given(bills, amounts, amounts)
def test_call_without_an_answer_or_a_bill_costs_the_tenant_nothing(
    bill: Bill, max_cost: NanoUSD, room: NanoUSD
) -> None:
    """Whatever we counted ourselves."""
    if bill.billed is None and bill.state is not CallState.OK:
        assert share(bill, max_cost=max_cost, room=room).tenant == 0


@given(amounts, amounts)
def test_answer_without_a_bill_costs_what_was_counted(max_cost: NanoUSD, counted: NanoUSD) -> None:
    """Never more than its worst case, however much room there is."""
    bill = Bill(CallState.OK, billed=None, counted=counted)
    split = share(bill, max_cost=max_cost, room=NanoUSD(10**18))
    assert split.tenant == min(counted, max_cost)


@given(shares)
def test_postings_of_each_kind_sum_to_zero(split: Share) -> None:
    """So the whole ledger does."""
    made = postings(split, tenant_id="tnt_1", provider="scripted")
    for kind in {posting.kind for posting in made}:
        assert sum(posting.amount for posting in made if posting.kind == kind) == 0


@given(shares)
def test_each_debtor_owes_its_part_to_the_provider(split: Share) -> None:
    """One debit for each part that is not zero."""
    made = postings(split, tenant_id="tnt_1", provider="scripted")
    debits = {posting.account: posting.amount for posting in made if posting.amount > 0}
    expected = {
        tenant_account("tnt_1"): split.tenant,
        PLATFORM_LOSS: split.platform_loss,
        SUSPENSE: split.suspense,
    }
    assert debits == {account: amount for account, amount in expected.items() if amount}
    owed = sum(posting.amount for posting in made if posting.account == "provider:scripted")
    assert owed == -(split.tenant + split.platform_loss + split.suspense)


@given(shares)
def test_no_account_is_posted_to_twice_in_one_kind(split: Share) -> None:
    """Which the entries' unique key would refuse."""
    made = postings(split, tenant_id="tnt_1", provider="scripted")
    assert len({(posting.kind, posting.account) for posting in made}) == len(made)


@given(amounts, amounts)
def test_late_cost_takes_the_place_of_what_was_suspended(cost: NanoUSD, suspended: NanoUSD) -> None:
    """Operator and provider; the tenant is not among the accounts, and each kind sums to zero."""
    made = late_postings(cost, suspended=suspended, provider="scripted")
    sums: dict[str, int] = {}
    for posting in made:
        sums[posting.account] = sums.get(posting.account, 0) + posting.amount
    assert sums.get(SUSPENSE, 0) == -suspended
    assert sums.get(PLATFORM_LOSS, 0) == cost
    assert sums.get("provider:scripted", 0) == suspended - cost
    assert sums.keys() <= {SUSPENSE, PLATFORM_LOSS, "provider:scripted"}
    for kind in {posting.kind for posting in made}:
        assert sum(posting.amount for posting in made if posting.kind == kind) == 0


@given(shares, amounts, amounts)
def test_late_postings_never_meet_those_of_the_closing(
    split: Share, cost: NanoUSD, suspended: NanoUSD
) -> None:
    """Which the entries' unique key would refuse."""
    closing = postings(split, tenant_id="tnt_1", provider="scripted")
    late = late_postings(cost, suspended=suspended, provider="scripted")
    both = [(posting.kind, posting.account) for posting in (*closing, *late)]
    assert len(set(both)) == len(both)


@given(bills, amounts, amounts)
def test_true_cost_is_known_where_nothing_would_wait_in_suspense(
    bill: Bill, max_cost: NanoUSD, room: NanoUSD
) -> None:
    """And is then what tenant and operator would have paid."""
    split, cost = share(bill, max_cost=max_cost, room=room), true_cost(bill)
    if cost is None:
        assert bill.billed is None
    else:
        assert cost == split.tenant + split.platform_loss
        assert split.suspense == 0
