"""Identifiers that sort by the time they were made, and that no caller can guess."""

import secrets
import time
from typing import NewType
from uuid import UUID

SolveId = NewType("SolveId", str)
OrgId = NewType("OrgId", str)
TenantId = NewType("TenantId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
BatchId = NewType("BatchId", str)


def uuid7() -> UUID:
    """A version 7 UUID: Unix milliseconds, then 74 random bits. Source: RFC 9562, section 5.7."""
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def solve_id() -> SolveId:
    """A new solve's id."""
    return SolveId(f"slv_{uuid7().hex}")


def tenant_id() -> TenantId:
    """A new tenant's id."""
    return TenantId(f"tnt_{uuid7().hex}")


def org_id() -> OrgId:
    """A new organisation's id."""
    return OrgId(f"org_{uuid7().hex}")


def project_id() -> ProjectId:
    """A new project's id."""
    return ProjectId(f"prj_{uuid7().hex}")


def batch_id() -> BatchId:
    """A new batch's id."""
    return BatchId(f"bat_{uuid7().hex}")
