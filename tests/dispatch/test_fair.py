"""Who comes next: in proportion to weights, in order of arrival within a tenant, nobody lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.fair import FairQueue
from app.ids import TenantId

A, B, C = TenantId("a"), TenantId("b"), TenantId("c")
TENANTS = st.sampled_from([A, B, C])


class Item:
    """Told apart by identity, as what waits is."""

    def __init__(self, tenant_id: TenantId, number: int) -> None:
        self.tenant_id, self.number = tenant_id, number


def drained(queue: FairQueue[Item]) -> list[Item]:
    """Everything, in the order in which it comes."""
    taken: list[Item] = []
    while (item := queue.take()) is not None:
        taken.append(item)
    return taken


@given(arrivals=st.lists(TENANTS), left=st.sets(st.integers(0, 30)))
def test_everything_comes_out_once_and_in_its_tenants_order(
    arrivals: list[TenantId], left: set[int]
) -> None:
    """But for what was taken out before its turn."""
    queue = FairQueue[Item]()
    items = [Item(tenant, number) for number, tenant in enumerate(arrivals)]
    for item in items:
        queue.add(item.tenant_id, item)
    for item in items:
        if item.number in left:
            assert queue.remove(item.tenant_id, item)
            assert not queue.remove(item.tenant_id, item)
    staying = [item for item in items if item.number not in left]
    assert len(queue) == len(staying)
    taken = drained(queue)
    assert len(queue) == 0
    for tenant in (A, B, C):
        expected = [item for item in staying if item.tenant_id is tenant]
        assert [item for item in taken if item.tenant_id is tenant] == expected


@given(
    weights=st.fixed_dictionaries({A: st.integers(1, 8), B: st.integers(1, 8)}),
    turns=st.integers(1, 60),
)
def test_tenants_that_wait_share_by_weight(weights: dict[TenantId, int], turns: int) -> None:
    """After any number of turns, within one turn of each."""
    queue = FairQueue[Item]()
    for number in range(turns):
        for tenant, weight in weights.items():
            queue.add(tenant, Item(tenant, number), weight=weight)
    had = Counter[TenantId]()
    for _ in range(turns):
        item = queue.take()
        assert item is not None
        had[item.tenant_id] += 1
        if turns < len(queue):  # both still wait
            assert abs(had[A] / weights[A] - had[B] / weights[B]) <= 1 / weights[A] + 1 / weights[B]


def test_crowd_waits_behind_itself() -> None:
    """One request of another tenant comes next, however many were there before it."""
    queue = FairQueue[Item]()
    for number in range(1_000):
        queue.add(A, Item(A, number))
    for _ in range(10):
        queue.take()
    queue.add(B, Item(B, 0))
    taken = [queue.take() for _ in range(2)]
    assert B in {item.tenant_id for item in taken if item is not None}


def test_tenant_that_was_away_has_saved_nothing_up() -> None:
    """It shares from when it comes; it does not catch up."""
    queue = FairQueue[Item]()
    for number in range(200):
        queue.add(A, Item(A, number))
    for _ in range(100):
        queue.take()
    for number in range(100):
        queue.add(B, Item(B, number))
    taken = [queue.take() for _ in range(20)]
    assert Counter(item.tenant_id for item in taken if item is not None) == {A: 10, B: 10}


def test_what_leaves_the_queue_counts_as_no_turn() -> None:
    """A tenant whose clients give up is not put back for it."""
    queue = FairQueue[Item]()
    gone = [Item(A, number) for number in range(50)]
    for item in gone:
        queue.add(A, item)
    queue.add(B, Item(B, 0))
    queue.add(B, Item(B, 1))
    for item in gone:
        queue.remove(A, item)
    queue.add(A, Item(A, 99))
    assert [item.tenant_id for item in drained(queue)].index(A) <= 1
