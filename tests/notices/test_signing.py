"""Signatures as the specification says them: its own example, and a receiver's own reading."""

import time

from hypothesis import given
from hypothesis import strategies as st

from app.db.engine import Database
from app.ids import TenantId
from app.notices.keyring import add_secret, secrets_of
from app.notices.signing import new_secret, signed_headers
from tests.notices.receiving import is_signed

ACME = TenantId("tnt_acme")


def test_the_specifications_example_is_signed_as_it_says() -> None:
    """The one that its reference libraries test themselves with."""
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        notice_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        at_s=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(body=st.binary(max_size=200), rotated=st.booleans())
def test_a_receiver_that_knows_either_secret_accepts(body: bytes, *, rotated: bool) -> None:
    """And one that knows neither, or gets another body, does not."""
    known, other = new_secret(), new_secret()
    valid = [other, known] if rotated else [known]
    headers = signed_headers(valid, notice_id="msg_1", at_s=int(time.time()), body=body)
    assert is_signed(known, headers, body)
    assert not is_signed(new_secret(), headers, body)
    assert not is_signed(known, headers, body + b" ")
    assert not is_signed(known, {**headers, "webhook-id": "msg_2"}, body)


async def test_the_two_newest_secrets_sign(database: Database) -> None:
    """A third makes the first one void; another tenant's are its own."""
    made = [await database.write(lambda tx: add_secret(tx, ACME)) for _ in range(3)]
    other = await database.write(lambda tx: add_secret(tx, TenantId("tnt_other")))
    async with database.read() as tx:
        assert await secrets_of(tx, ACME) == [made[2], made[1]]
        assert await secrets_of(tx, TenantId("tnt_other")) == [other]
        assert await secrets_of(tx, TenantId("tnt_none")) == []
