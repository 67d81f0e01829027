"""An encrypted file is read by a password that is given once, or by those that are kept."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.answering.view import page_picture
from app.api import KnowledgeBase
from app.running.bases import State
from app.running.taking import take
from core.config import SECRETS, Config, load
from core.errors import ReadError
from retrieval.embed import Embedder
from tests.ingest.test_unlock import encrypted_pdf

Write = Callable[[str, str], Path]


def locked(write: Write) -> Path:
    folder = write("open.md", "# Open\n\nEverybody reads this.").parent
    (folder / "pay.pdf").write_bytes(encrypted_pdf("s3cret"))
    return folder


def test_a_password_that_is_given_opens_the_file_and_is_nowhere_kept(
    cfg: Config, write: Write, embedder: Embedder
) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        folder = locked(write)
        assert [failure.error for failure in base.sync(folder).failed] == ["the PDF needs a password"]
        with pytest.raises(ReadError, match=r"the password does not open 'pay\.pdf'"):
            base.unlock("pay.pdf", "wrong")
        for none in ("", "x" * 1001, "a\0b"):
            with pytest.raises(ReadError, match="does not open"):
                base.unlock("pay.pdf", none)
        assert base.unlock("pay.pdf", "s3cret").failed == []
        hits = base.search("travel expenses", mode="lexical").hits
        assert hits[0].path == "pay.pdf"
        assert base.sync().empty
        with pytest.raises(ReadError):
            page_picture(base.index, hits[0].chunk_id, cfg.ingest)
        kept = cfg.ingest.model_copy(update={"passwords": ["s3cret"]})
        assert page_picture(base.index, hits[0].chunk_id, kept).startswith(b"\x89PNG")
    files = [file for file in Path(cfg.app.data).rglob("*") if file.is_file()]
    assert files
    assert [file for file in files if b"s3cret" in file.read_bytes()] == []


def test_kept_passwords_open_every_file_also_those_that_waited(cfg: Config, write: Write, embedder: Embedder) -> None:
    with KnowledgeBase("kb", cfg, embedder) as base:
        base.sync(locked(write))
    kept = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"passwords": ["other", "s3cret"]})})
    with KnowledgeBase("kb", kept, embedder) as base:
        assert base.sync().added == 1
        assert base.sync(rebuild=True).failed == []


def test_passwords_are_secrets_that_are_written_apart(tmp_path: Path) -> None:
    assert "ingest.passwords" in SECRETS
    file = tmp_path / "config.toml"
    file.write_text(f'[app]\ndata = "{tmp_path}/data"\n', "utf-8")
    state = State(load(file, environ={}))
    take(state, {"ingest.passwords": ["s3cret"]})
    assert state.bases.cfg.ingest.passwords == ["s3cret"]
    assert "s3cret" not in file.read_text("utf-8")
    assert "s3cret" in (tmp_path / "ragstone-secrets.toml").read_text("utf-8")
    assert "s3cret" not in str(load(file, environ={}).rows() if hasattr(load(file), "rows") else "")
