"""Solves run in this process, each in its turn: attended ones by the request that asks for them."""

from collections.abc import Mapping

from app.dispatch.turns import Turns
from app.ledger.idempotency import IdempotencyKey
from app.ledger.openings import Claim
from app.solve.legacy import Legacy
from app.solve.report import Solved
from app.solve.request import SolveRequest
from app.solve.solver import Solver
from app.tenants.directory import Tenant

Weights = Mapping[str, float]
"""How much of this process a tenant may have beside others, by its policy; 1 where not named."""


class Inline:
    """Runs what a client waits for."""

    def __init__(self, *, solver: Solver, turns: Turns, weights: Weights) -> None:
        self._solver, self._turns, self._weights = solver, turns, weights

    async def solve(
        self,
        tenant: Tenant,
        request: SolveRequest,
        *,
        key: IdempotencyKey | None = None,
        legacy: Legacy | None = None,
    ) -> tuple[Claim, Solved, Mapping[str, str]]:
        """Admit and run it, once it is this tenant's turn; no money is held before.

        Its claim, the result and the texts. Raises QueueFull, with nothing held, and what
        `Solver.admit` and `Solver.run` raise.
        """
        async with self._turns.turn(tenant.id, weight=self._weights.get(tenant.policy, 1.0)):
            run = await self._solver.admit(tenant, request, key=key, legacy=legacy)
            return (run.claim, *await self._solver.run(run))
