"""Who comes next where not all can run: tenants in proportion to their weights. Pure.

Start-time fair queueing: a tenant's turn starts, in a time that only counts turns, where its last
one ended, but never before now; a turn lasts 1 / weight; whose turn starts first comes first. So a
tenant that sends a thousand requests waits behind its own, and one that was away saves nothing up.
Source: Goyal, Vin, Cheng, Start-Time Fair Queueing, IEEE/ACM ToN 5(5), 1997, section 2.
"""

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items of tenants. One tenant's come out in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[Item, float]]] = {}
        self._ends: dict[str, float] = {}
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, tenant_id: str, item: Item, *, weight: float = 1.0) -> None:
        """Put an item behind the others of its tenant; `weight` is more than 0."""
        self._waiting.setdefault(tenant_id, deque()).append((item, weight))
        self._length += 1

    def remove(self, tenant_id: str, item: Item) -> bool:
        """Take an item out, wherever it is; False where it is not. It counts as no turn."""
        line = self._waiting.get(tenant_id, deque())
        kept = deque(entry for entry in line if entry[0] is not item)
        if len(kept) == len(line):
            return False
        self._length -= 1
        self._keep(tenant_id, kept)
        return True

    def take(self) -> Item | None:
        """The next item; None where there is none."""
        if not self._waiting:
            return None
        # Of equals the one that has waited longest: a dict keeps the order of arrival.
        tenant_id = min(self._waiting, key=self._start)
        line = self._waiting[tenant_id]
        item, weight = line.popleft()
        self._length -= 1
        self._now = self._start(tenant_id)
        self._ends = {one: end for one, end in self._ends.items() if end > self._now}
        self._ends[tenant_id] = self._now + 1 / weight
        del self._waiting[tenant_id]
        self._keep(tenant_id, line)
        return item

    def _start(self, tenant_id: str) -> float:
        return max(self._now, self._ends.get(tenant_id, self._now))

    def _keep(self, tenant_id: str, line: deque[tuple[Item, float]]) -> None:
        if line:
            self._waiting[tenant_id] = line
        else:
            self._waiting.pop(tenant_id, None)
        if not self._waiting:
            self._now, self._ends = 0.0, {}  # nobody is left to be fair to
