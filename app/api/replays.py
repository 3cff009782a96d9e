"""The body of `POST /v1/solve` that asks for a recorded solve to be made again."""

from typing import Annotated, Final, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.schemas import ESCAPED_NUL, Metadata, MetadataKey, MetadataValue
from app.errors import InvalidRequest

MEMBERS: Final = ("replay_of", "include", "metadata")


class ReplayBody(BaseModel):
    """A solve of yours to be made again from its record: no call, no cost, the same answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replay_of: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Gate and search decide anew on the recorded responses. 409 "
        "`replay-divergence` where anything would come out differently."
    )
    include: list[Literal["candidates"]] = Field(default_factory=list[Literal["candidates"]])
    metadata: Metadata = Field(default_factory=dict[MetadataKey, MetadataValue])

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if ESCAPED_NUL.search(self.model_dump_json()):
            raise ValueError("a text holds the character NUL, which no database can keep")
        return self


def replay_asked(sent: bytes) -> ReplayBody | None:
    """The body where it asks for a replay, as its one member says; None for any other.

    Raises InvalidRequest, or pydantic's error, for one that asks for more.
    """
    # Looked for first, so that nobody else's body is parsed twice.
    if b'"replay_of"' not in sent:
        return None
    try:
        members = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return None
    if "replay_of" not in members:
        return None
    if not members.keys() <= set(MEMBERS):
        raise InvalidRequest("replay_of", f"a replay takes {', '.join(MEMBERS)} and nothing else")
    return ReplayBody.model_validate_json(sent)
