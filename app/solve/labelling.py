"""What a caller says of an answer that it was given: a label for the gate."""

from app.ids import SolveId
from app.learning.learner import Learner
from app.solve.archive import Archive
from app.solve.resuming import SolveInProgress
from app.tenants.directory import Tenant


class Labelling:
    """Takes feedback; a later one takes the place of an earlier one."""

    def __init__(self, *, archive: Archive, learner: Learner) -> None:
        self._archive, self._learner = archive, learner

    async def tell(
        self, tenant: Tenant, solve_id: str, *, correct: bool, score: float | None
    ) -> None:
        """How right the answer of a solve was: `score` in [0, 1], or else whether it was `correct`.

        Raises NoSuchSolve for another tenant's, SolveInProgress before there is an answer.
        """
        found = await self._archive.find(tenant, solve_id)
        if found.solved is None:
            raise SolveInProgress(f"{solve_id} has not ended: there is no answer to judge")
        told = float(correct) if score is None else score
        await self._learner.tell(tenant.id, SolveId(found.record.id), told)
