"""The rows that close the books: a tenant's month, and what a provider says it charged."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Document
from app.money import NanoUSD


class StatementRow(Base):
    """A closed month of a tenant: append-only. `month` is YYYY-MM, in UTC.

    `refunds` and `adjustments` are credits; the `document` says what the sums are made of.
    """

    __tablename__ = "statement"
    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    charges: Mapped[NanoUSD]
    refunds: Mapped[NanoUSD]
    adjustments: Mapped[NanoUSD]
    document: Mapped[dict[str, Any]] = mapped_column(Document)
    closed_at: Mapped[datetime]


class ProviderReport(Base):
    """A provider's usage report that was imported: append-only, each file once.

    `by_request` says whether its rows name requests; the span is that of its rows.
    """

    __tablename__ = "provider_report"
    __table_args__ = (UniqueConstraint("provider", "sha256"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    provider: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    by_request: Mapped[bool]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    imported_at: Mapped[datetime]


class ProviderReportLine(Base):
    """A model and an hour of a report beside the books, in nano-dollars: append-only.

    `known` is what the books owed before, `suspended` what they feared besides; `is_unknown` says
    that nothing of ours is behind some of it.
    """

    __tablename__ = "provider_report_line"
    report_id: Mapped[str] = mapped_column(ForeignKey("provider_report.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(128))
    hour: Mapped[datetime | None]
    rows: Mapped[int]
    calls: Mapped[int]
    reported: Mapped[NanoUSD]
    known: Mapped[NanoUSD]
    suspended: Mapped[NanoUSD]
    is_unknown: Mapped[bool]
