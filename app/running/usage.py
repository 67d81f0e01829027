"""How much each person asks of each knowledge base: `data/usage.sqlite`, counts a day, no word of what was asked."""

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from app.running.accounts import Accounts
from app.running.store import Store, statements
from core.errors import CatalogError

log = logging.getLogger(__name__)

FILE = "usage.sqlite"
KEPT_DAYS = 366
Surface = Literal["page", "api", "mcp"]
_WAIT_S = 2.0  # for another process; a count is not worth more of an answer's time
_TABLE = """
CREATE TABLE asked (
    day TEXT NOT NULL, user TEXT NOT NULL, kb TEXT NOT NULL, surface TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, user, kb, surface)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What somebody asked of a knowledge base: questions by where they were asked, and the last day (UTC) of one.

    `user` is the id of an account, "" where there are no users.
    """

    user: str
    kb: str
    page: int
    api: int
    mcp: int
    last: str

    @property
    def total(self) -> int:
        """Questions in all."""
        return self.page + self.api + self.mcp


class Usage:
    """The counts of a data folder. Safe to use from many threads; several processes may have it open."""

    def __init__(self, data: Path) -> None:
        self.file = data / FILE
        self._store = Store(self.file, (lambda db: statements(db, _TABLE),), _WAIT_S)

    def count(self, user: str, surface: Surface, kbs: Iterable[str]) -> None:
        """Count a question to some knowledge bases. Where it cannot be counted, that is logged."""
        if not self.file.parent.is_dir():  # the disk is away; nothing is written in its place
            return
        today = datetime.now(UTC).date()
        rows = [(today.isoformat(), user, kb, surface) for kb in dict.fromkeys(kbs)]
        try:
            with self._store.writing() as db:
                db.execute("DELETE FROM asked WHERE day < ?", ((today - timedelta(days=KEPT_DAYS)).isoformat(),))
                db.executemany(
                    "INSERT INTO asked VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", rows
                )
        except (CatalogError, sqlite3.IntegrityError) as error:
            log.warning("a question was not counted: %s", error)

    def totals(self, days: int) -> list[Used]:
        """What was asked in the last so many days, today among them; by user and knowledge base, the most first."""
        if not self._store.there():
            return []
        since = datetime.now(UTC).date() - timedelta(days=days - 1)
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT user, kb, sum(iif(surface = 'page', count, 0)), sum(iif(surface = 'api', count, 0)), "
                "sum(iif(surface = 'mcp', count, 0)), max(day) FROM asked WHERE day >= ? GROUP BY user, kb "
                "ORDER BY sum(count) DESC, user, kb",
                (since.isoformat(),),
            ).fetchall()
        return [Used(*row) for row in rows]

    def forget(self, user: str) -> None:
        """Drop the counts of an account that is removed."""
        if self._store.there():
            with self._store.writing() as db:
                db.execute("DELETE FROM asked WHERE user = ?", (user,))


def named(rows: Iterable[Used], accounts: Accounts) -> list[tuple[str, Used]]:
    """Counts with the names of their accounts, "" where there were no users."""
    names = {account.id: account.name for account in accounts.all()}
    return [(names.get(row.user, row.user and "?"), row) for row in rows]
