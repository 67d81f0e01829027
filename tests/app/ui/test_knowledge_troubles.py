"""What could not be read is said at once, those together for which the same is to be done, with the way to do it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keeping.folders import add_folder
from app.running.bases import Bases
from app.ui.knowledge_troubles import troubles
from core.config import Config

Write = Callable[[str, str], Path]


@pytest.fixture
def bases(cfg: Config, write: Write) -> Bases:
    """A knowledge base with two damaged files, one that is too large, and one that is fine."""
    bases = Bases(cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"max_file_mb": 1})}))
    docs = write("good.md", "# Good\n\nText.").parent
    for name in ("a.pdf", "<b>.pdf"):
        (docs / name).write_bytes(b"%PDF-1.7 no")
    (docs / "large.txt").write_text("word " * 300_000, "utf-8")
    add_folder(bases.cfg, bases.make("kb"), docs, anywhere=True)
    assert len(bases.update("kb").failed) == 3
    return bases


def test_failures_are_grouped_by_what_to_do_and_lead_there(bases: Bases) -> None:
    shown = troubles(bases.get("kb"), "en", admin=True)
    assert "3 files could not be read:" in shown
    pdfs, large = re.findall("<li>(.*?)</li>", shown)
    assert "&lt;b&gt;.pdf, a.pdf" in pdfs
    assert "<b>.pdf" not in shown.replace("&lt;b&gt;.pdf", "")
    assert "large.txt" in large
    assert "the limit is 1 MB" in large
    assert 'data-go="settings" data-setting="ingest.max_file_mb"' in large
    assert 'data-value="failed"' in shown


def test_who_may_not_change_settings_is_not_led_to_them_and_chinese_is_chinese(bases: Bases) -> None:
    shown = troubles(bases.get("kb"), "zh", admin=False)
    assert "有 3 个文件无法读取" in shown
    assert "data-go" not in shown
    assert "文件太大" in shown
    assert "could not" not in shown


def test_where_all_is_well_nothing_is_said(cfg: Config, write: Write) -> None:
    bases = Bases(cfg)
    add_folder(cfg, bases.make("kb"), write("good.md", "# Good\n\nText.").parent, anywhere=True)
    bases.update("kb")
    assert troubles(bases.get("kb"), "en", admin=True) == ""
