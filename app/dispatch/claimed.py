"""The turns of solves that are taken up from elsewhere: as fair as all others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.dispatch.inline import Weights
from app.dispatch.turns import Turns
from app.ledger.openings import Claim
from app.tenants.directory import Directory


@dataclass(frozen=True, slots=True)
class ClaimTurns:
    """Gives turns to claims."""

    turns: Turns
    weights: Weights
    directory: Directory

    @asynccontextmanager
    async def turn(self, claim: Claim) -> AsyncGenerator[None]:
        """Run the block once it is the solve's turn; it waits for ever, for it was accepted."""
        # Of a tenant whose key was revoked meanwhile, what was accepted still runs.
        tenant = await self.directory.holder(claim.account.key_id)
        weight = 1.0 if tenant is None else self.weights.get(tenant.policy, 1.0)
        async with self.turns.turn(claim.account.tenant_id, weight=weight, waits_for_ever=True):
            yield
