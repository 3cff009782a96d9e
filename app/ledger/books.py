"""What can be read of the books after the fact: receipts, statements, exports."""

from dataclasses import dataclass

from app.db.engine import Database
from app.ledger.exports import Exports
from app.ledger.receipts import Receipts
from app.ledger.statements import Statements


@dataclass(frozen=True, slots=True)
class Books:
    """The readers of one ledger."""

    receipts: Receipts
    statements: Statements
    exports: Exports

    @classmethod
    def of(cls, database: Database) -> "Books":
        """Those of a database."""
        return cls(Receipts(database), Statements(database), Exports(database))
