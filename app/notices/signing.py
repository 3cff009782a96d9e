"""Signatures of webhooks, by the Standard Webhooks specification, version 1.0.

    signed content   <webhook-id>.<webhook-timestamp>.<body>
    signature        `v1,` and the base64 of its HMAC-SHA256; several, between spaces
    secret           `whsec_` and the base64 of the key

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"

KEY_BYTES: Final = 32
"""The specification asks for 24 to 64."""


def new_secret() -> str:
    """A secret that nobody has seen."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def signed_headers(
    secrets_valid: Sequence[str], *, notice_id: str, at_s: int, body: bytes
) -> Mapping[str, str]:
    """The headers that let a receiver check who sent the body, when, and that it is whole.

    `at_s` is the Unix time of this attempt, by which a receiver refuses what was recorded and sent
    again later.
    """
    content = f"{notice_id}.{at_s}.".encode() + body
    return {
        "webhook-id": notice_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets_valid),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode("ascii")
