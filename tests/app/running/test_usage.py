"""How much is asked is counted, and nothing else of it."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.running.usage import FILE, KEPT_DAYS, Usage


def test_questions_count_by_person_knowledge_base_and_surface(tmp_path: Path) -> None:
    usage = Usage(tmp_path)
    assert usage.totals(30) == []
    with ThreadPoolExecutor(8) as pool:
        for n in range(40):
            pool.submit(usage.count, "ann", ("page", "api", "mcp", "page")[n % 4], ["a", "b", "a"])
    usage.count("bob", "api", ["a"])
    assert [(row.user, row.kb, row.page, row.api, row.mcp, row.total) for row in usage.totals(1)] == [
        ("ann", "a", 20, 10, 10, 40), ("ann", "b", 20, 10, 10, 40), ("bob", "a", 0, 1, 0, 1),
    ]  # fmt: skip


def test_old_counts_go_and_a_span_of_days_has_today_in_it(tmp_path: Path) -> None:
    usage, today = Usage(tmp_path), datetime.now(UTC).date()
    usage.count("ann", "page", ["a"])
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        for days in (1, 29, 30, KEPT_DAYS + 1):
            day = (today - timedelta(days=days)).isoformat()
            db.execute("INSERT INTO asked VALUES (?, 'ann', 'a', 'page', 1)", (day,))
    assert [usage.totals(days)[0].total for days in (1, 2, 30, 31, KEPT_DAYS)] == [1, 2, 3, 4, 4]
    usage.count("ann", "page", ["a"])
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("SELECT count(*) FROM asked").fetchone() == (4,)


def test_what_cannot_be_counted_is_asked_all_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    Usage(tmp_path).count("ann", "page", ["a"])
    Usage(tmp_path / "away").count("ann", "page", ["a"])
    assert not (tmp_path / "away").exists()


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    Usage(tmp_path).count("ann", "page", ["a"])
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
