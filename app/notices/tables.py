"""What is to be told to somebody outside, and the secrets that sign it.

No text of a request or an answer is ever here: a notice says what happened, what it cost, and where
to read more.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class OutboxRow(Base):
    """A notice, written in the transaction of the fact that it tells.

    `due_at` is when something is to be done with it: the next attempt while it is pending (a claim
    moves it to the end of its lease), and its deletion once it is delivered or dead. `attempts`
    counts claims. A `trusted` destination was named by the operator, and may be internal.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("state IN ('pending','delivered','dead')", name="state"),
        CheckConstraint("channel IN ('webhook','slack','email')", name="channel"),
        Index("ix_outbox_state_due_at", "state", "due_at"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    channel: Mapped[str] = mapped_column(String(8))
    destination: Mapped[str] = mapped_column(String(2048))
    trusted: Mapped[bool]
    event: Mapped[str] = mapped_column(String(32))
    body: Mapped[str] = mapped_column(Text())
    state: Mapped[str] = mapped_column(String(12))
    attempts: Mapped[int]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    error: Mapped[str | None] = mapped_column(String(100))


class WebhookSecret(Base):
    """A key that signs a tenant's webhooks. Readable, because whoever signs must have it.

    Two are valid while one takes over from the other; `made` tells which is the newer.
    """

    __tablename__ = "webhook_secret"
    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    made: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime]
