import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.db.engine import Database, WriteTx
from app.db.texts import REPLACEMENT, storable, storable_document
from app.ids import SolveId
from app.ledger.ledger import Ledger
from app.ledger.retention import keep_texts
from app.ledger.tables import Payload
from tests.backends import account
from tests.ledger.books import opening

texts = st.text(st.characters(codec=None, exclude_categories=[]), max_size=20)


@given(texts)
def test_storable_text_has_no_nul_and_no_half_of_a_pair(text: str) -> None:
    """And is what it was, if it had none."""
    made = storable(text)
    assert "\0" not in made
    assert made == made.encode().decode()
    if "\0" not in text and not any(0xD800 <= ord(character) < 0xE000 for character in text):
        assert made == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", f"a{REPLACEMENT}b"),
        ("cut \ud83d", f"cut {REPLACEMENT}"),
        ("\ude00 rest", f"{REPLACEMENT} rest"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("\ufeffmarked", "\ufeffmarked"),
    ],
)
def test_what_cannot_be_kept_is_replaced(text: str, kept: str) -> None:
    """Two halves that meet again are one character."""
    assert storable(text) == kept


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists, max_leaves=8))
def test_documents_are_storable_throughout(value: object) -> None:
    """Keys and values, at any depth; what is no text stays."""
    document = {"\0": [value], "kept": 1.5}
    made = storable_document(json.loads(json.dumps(document)))
    assert "\\u0000" not in json.dumps(made)
    json.dumps(made, ensure_ascii=False).encode()


async def test_every_storable_text_is_kept_as_it_is(database: Database) -> None:
    """By both databases."""
    claim = await Ledger(database).hold(opening(await account(database), 0))
    odd = storable("".join(map(chr, [*range(0x300), *range(0xD7F0, 0xE010), 0x1F600, 0x10FFFF])))

    async def work(tx: WriteTx) -> None:
        await keep_texts(tx, [(SolveId(claim.solve_id), {"odd": odd})])

    await database.write(work)
    async with database.read() as tx:
        assert await tx.scalar(select(Payload.body)) == odd


async def test_unstorable_text_is_why_this_is_needed(database: Database) -> None:
    """Half of an emoji is refused by both databases."""
    claim = await Ledger(database).hold(opening(await account(database), 0))

    async def work(tx: WriteTx) -> None:
        row = {"solve_id": claim.solve_id, "name": "odd", "body": "\ud83d"}
        await tx.execute(insert(Payload).values(row))

    with pytest.raises(Exception, match="surrogates not allowed"):
        await database.write(work)
