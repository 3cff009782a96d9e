"""Who is asking: a bearer key, checked before anything else is read."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from app.api.state import services
from app.tenants.directory import Tenant, Unauthenticated

SCHEME = "bearer"


PUBLISHED = HTTPBearer(scheme_name="key", description="A tenant's key.", auto_error=False)
"""Puts the scheme into the OpenAPI document, so that `/docs` asks for a key; decides nothing."""


async def authenticate(request: Request, _shown: Annotated[object, Depends(PUBLISHED)]) -> Tenant:
    """The tenant of the request's key. Raises Unauthenticated."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME or not key:
        raise Unauthenticated
    tenant = await services(request).directory.authenticate(key.strip())
    request.state.tenant_id = tenant.id  # for the log
    return tenant


Authenticated = Annotated[Tenant, Depends(authenticate)]
"""A route that takes one of these is closed to everybody without a key."""
