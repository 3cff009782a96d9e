"""`POST /v1/solves/{id}/feedback`: what the caller found out about an answer teaches the gate."""

from typing import Annotated, Self

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.auth import Authenticated
from app.api.published import REFUSALS
from app.api.state import services

router = APIRouter(prefix="/v1", tags=["solves"], responses=REFUSALS)


class FeedbackBody(BaseModel):
    """Whether the answer was right; by how much, where it can be right in part."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"correct": True}]}
    )

    correct: bool | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Default: 1 where it is correct, 0 where it is not."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.correct is None and self.score is None:
            raise ValueError("say whether the answer was correct, or score it")
        return self


@router.post("/solves/{solve_id}/feedback", summary="Say whether the answer was right")
async def tell(
    request: Request, solve_id: str, body: FeedbackBody, tenant: Authenticated
) -> JSONResponse:
    """Label a solve of yours: your later ones are decided with what it teaches.

    Sent again it changes nothing; another one takes its place. 409 while the solve runs.
    """
    correct = bool(body.correct)
    await services(request).labelling.tell(tenant, solve_id, correct=correct, score=body.score)
    told = {"solve_id": solve_id, "correct": body.correct, "score": body.score}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})
