"""Batches and their lines. A line's solve has its id from the start, so that there is only one.

What a batch may cost is a budget of scope `batch`; what it did cost is posted there.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.money import NanoUSD

OPEN_LINE = text("state IN ('waiting','taken')")


class BatchRow(Base):
    """Many solves under one cap, to be done before `expires_at`, and in whose name."""

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint(
            "state IN ('in_progress','finalizing','cancelling','completed','expired','cancelled')",
            name="state",
        ),
        UniqueConstraint("tenant_id", "idempotency_key"),
        Index(
            "ix_batch_open",
            "state",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    key_id: Mapped[str] = mapped_column(String(40))
    idempotency_key: Mapped[str] = mapped_column(String(255))
    body_sha256: Mapped[str] = mapped_column(String(64))
    cap: Mapped[NanoUSD]
    window: Mapped[str] = mapped_column("completion_window", String(8))
    total: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class BatchLineRow(Base):
    """One request of a batch. `owner` is the replica that has taken it.

    `request` is there until it has ended; its solve keeps what it was asked, erasable as any. The
    error is that of a line that never became a solve. One that waits for a budget's next period is
    not taken before `not_before`.
    """

    __tablename__ = "batch_line"
    __table_args__ = (
        CheckConstraint("state IN ('waiting','taken','ok','failed')", name="state"),
        Index(
            "ix_batch_line_open",
            "batch_id",
            "number",
            sqlite_where=OPEN_LINE,
            postgresql_where=OPEN_LINE,
        ),
        Index(
            "ix_batch_line_error_detail",
            "batch_id",
            sqlite_where=text("error_detail IS NOT NULL"),
            postgresql_where=text("error_detail IS NOT NULL"),
        ),
    )
    batch_id: Mapped[str] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    custom_id: Mapped[str] = mapped_column(String(128))
    solve_id: Mapped[str] = mapped_column(String(40), unique=True)
    state: Mapped[str] = mapped_column(String(8))
    owner: Mapped[str | None] = mapped_column(String(64))
    request: Mapped[str | None]
    error_kind: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(String(200))
    not_before: Mapped[datetime | None]
