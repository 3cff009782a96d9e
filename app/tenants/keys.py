"""API keys: 256 random bits behind a public id, shown once and stored as a hash.

A key is `fathom_<id>_<secret>`. The id finds the row; the secret is compared by its SHA-256. A slow
password hash would add nothing but 170 ms: nobody guesses 256 random bits.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from app.ids import KeyId, uuid7

PREFIX: Final = "fathom"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just minted; `text` is the only copy of the secret."""

    id: KeyId
    text: str
    sha256: str


def mint() -> NewKey:
    """Make a key."""
    key_id = KeyId(f"key{uuid7().hex}")
    text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    return NewKey(key_id, text, fingerprint(text))


def public_id(text: str) -> KeyId | None:
    """The id inside a key, or None for what cannot be one of ours."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    # Nothing else is looked for: no database takes a NUL, and none should see what is no id.
    is_id = key_id.isascii() and key_id.isalnum()
    return KeyId(key_id) if prefix == PREFIX and is_id and secret else None


def fingerprint(text: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def matches(text: str, sha256: str) -> bool:
    """Whether the key is the one stored, in a time that tells nothing about how far it agrees."""
    return hmac.compare_digest(fingerprint(text), sha256)
