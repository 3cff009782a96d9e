"""Who is told when a budget runs low, and who has been."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.money import NanoUSD


class AlertRule(Base):
    """Tell a destination, once a period, when so much of a budget is spent. `label` is whose."""

    __tablename__ = "alert_rule"
    __table_args__ = (
        CheckConstraint("at_percent BETWEEN 1 AND 100", name="at_percent"),
        UniqueConstraint("rule_id", "at_percent", "channel", "destination"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("budget_rule.id"))
    label: Mapped[str] = mapped_column(String(200))
    at_percent: Mapped[int]
    channel: Mapped[str] = mapped_column(String(8))
    destination: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime]


class Alert(Base):
    """That a destination was told of one period of a budget; the notice is written with it."""

    __tablename__ = "alert"
    __table_args__ = (
        CheckConstraint("spent >= 0", name="spent"),
        UniqueConstraint("budget_id", "at_percent", "channel", "destination"),
    )
    notice_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    budget_id: Mapped[str] = mapped_column(ForeignKey("budget.id"))
    at_percent: Mapped[int]
    channel: Mapped[str] = mapped_column(String(8))
    destination: Mapped[str] = mapped_column(String(500))
    spent: Mapped[NanoUSD]
    lim: Mapped[NanoUSD]
    told_at: Mapped[datetime]
