"""Who may ask: tenants and their keys; and who several tenants belong to."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class OrganisationRow(Base):
    """What several tenants belong to: it has a budget, and neither keys nor solves of its own."""

    __tablename__ = "organisation"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class TenantRow(Base):
    """A customer of the platform: its own budget, keys, solves and policy."""

    __tablename__ = "tenant"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    policy: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    org_id: Mapped[str | None] = mapped_column(String(40), index=True)


class ProjectRow(Base):
    """A part of a tenant with a budget of its own: an application, a team.

    `cost_center` is where the tenant's own books put what it spends; a key's own goes first.
    """

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"))
    name: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    cost_center: Mapped[str | None] = mapped_column(String(64))


class KeyRow(Base):
    """A credential of a tenant, stored as the hash of 256 random bits."""

    __tablename__ = "api_key"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenant.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    project_id: Mapped[str | None] = mapped_column(String(40))
    cost_center: Mapped[str | None] = mapped_column(String(64))
