"""The root of every expected refusal.

A `GatewayError` is something the gateway decided, on purpose, not to do; a caller can act on it.
A bug is an `AssertionError` and is never caught. Status codes are not known here: `api/problems.py`
maps each class to one, and a test fails when a class is missing from that table.
"""


class GatewayError(Exception):
    """An expected refusal; its message says what was wrong and what to do about it."""


class InvalidRequest(GatewayError):
    """The request cannot be carried out as written; `field` names the part to change."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field, self.detail = field, detail
