import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tenants.keys import fingerprint, matches, mint, public_id


def test_key_holds_256_random_bits_behind_its_id() -> None:
    """43 characters of base64, never the same twice."""
    made = [mint() for _ in range(100)]
    assert len({key.text for key in made}) == len({key.id for key in made}) == 100
    for key in made:
        prefix, key_id, secret = key.text.split("_", 2)
        assert (prefix, key_id, len(secret)) == ("fathom", key.id, 43)
        assert len(key.id) <= 40


def test_stored_hash_tells_nothing_of_the_secret_and_knows_its_key() -> None:
    """And no other."""
    key, other = mint(), mint()
    assert key.sha256 == fingerprint(key.text)
    assert key.text not in key.sha256
    assert matches(key.text, key.sha256)
    assert not matches(other.text, key.sha256)
    assert not matches(f"{key.text} ", key.sha256)


def test_public_id_is_found_in_the_key() -> None:
    """By which its row is looked up."""
    key = mint()
    assert public_id(key.text) == key.id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fathom",
        "fathom_",
        "fathom__secret",
        "fathom_id_",
        "other_id_secret",
        "FATHOM_id_secret",
        " fathom_id_secret",
        "fathom_nul\0_secret",
        "fathom_é_secret",
        "fathom_' OR 1=1_secret",
    ],
)
def test_what_cannot_be_a_key_has_no_id(text: str) -> None:
    """The database is not asked for it."""
    assert public_id(text) is None


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    """Whatever a header holds."""
    found = public_id(text)
    assert found is None or found.isalnum()
