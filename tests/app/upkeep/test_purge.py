"""Purge: what was deleted is in no file of a knowledge base any more."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.answering import unanswered
from app.keeping.index import run, sync
from app.running.bases import Bases
from app.running.chats import Chats, Reader
from app.training.votes import Vote, add_vote, votes_file
from app.upkeep.purge import purge
from core.config import Config
from core.text import tokens
from core.types import Answer, Source, Trace
from llm.examples import Message
from retrieval.embed import Embedder
from retrieval.home import generations, identity
from retrieval.index import Index
from retrieval.search import search

pytestmark = pytest.mark.slow

Write = Callable[[str, str], Path]

BODY, PARAGRAPH, UPLOAD = "Zyxqvbody 鹓鶵", "Zyxqvparagraph 鹡鸰", "Zyxqvupload 鸑鷟"
NAME, HEADING = "Zyxqvname 鹣鹣", "Zyxqvheading 鸂鶒"


def needles(canary: str) -> set[bytes]:
    """A word as it may stand in a file: two encodings, as written and as the lexical index has it, also backwards."""
    forms = {form for word in canary.split() for form in (word, word.casefold(), *tokens(word))}
    straight = {form.encode(code) for form in forms for code in ("utf-8", "utf-16le")}
    return straight | {needle[::-1] for needle in straight}


def traces(folder: Path, canary: str) -> set[str]:
    """The files that hold a word in their bytes or in their name."""
    wanted = needles(canary)
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file()
        if any(needle in file.read_bytes() or needle in os.fsencode(file.name) for needle in wanted)
    }


def found(index: Index, cfg: Config, question: str) -> list[str]:
    return [hit.path for hit in search(index, [question], cfg.retrieval)]


@pytest.fixture
def secrets(cfg: Config, write: Write, tmp_path: Path) -> Path:
    """The data folder after everything that is to be forgotten was deleted and indexed away."""
    data = Path(cfg.app.data)
    write("keep.md", "# Leave\n\nAnnual leave is 25 days.\n\n年假每年二十五天。")
    write(f"{NAME}.md", f"# {HEADING}\n\nThe words {BODY} must go.")
    folder = write("edited.md", f"# Edited\n\nThis stays. The words {PARAGRAPH} must go.").parent
    cfg = cfg.model_copy(update={"app": cfg.app.model_copy(update={"keep_generations": 2})})
    run(cfg, "kb", [folder])
    upload = tmp_path / "upload.md"
    upload.write_text(f"# Upload\n\nThe words {UPLOAD} must go.", encoding="utf-8")
    Bases(cfg).upload("kb", [upload])
    run(cfg, "kb", rebuild=True)
    for canary in (BODY, PARAGRAPH, UPLOAD, NAME, HEADING):
        assert "g0002/catalog.sqlite" in traces(data / "kb", canary)
    (folder / f"{NAME}.md").unlink()
    (data / "kb" / "files" / "upload.md").unlink()
    write("edited.md", "# Edited\n\nThis stays.")
    run(cfg, "kb")
    return data


def test_after_a_purge_no_file_holds_what_was_removed(secrets: Path, cfg: Config, embedder: Embedder) -> None:
    home = secrets / "kb"
    for canary in (BODY, PARAGRAPH, UPLOAD, NAME, HEADING):
        assert traces(home, canary)
    receipt = purge(secrets, "kb", embedder)
    for canary in (BODY, PARAGRAPH, UPLOAD, NAME, HEADING):
        assert traces(home, canary) == set()
    assert generations(home) == ["g0002"]
    assert receipt.removed == ("g0001",)
    assert (receipt.documents, receipt.chunks) == (2, 2)
    assert receipt.embeddings_dropped >= 0

    index = Index.open(secrets, "kb", embedder)
    assert index.verify() == []
    assert found(index, cfg, "annual leave")[0] == "keep.md"
    assert set(found(index, cfg, "年假")) == {"keep.md"}
    for canary in (BODY, PARAGRAPH, UPLOAD, NAME, HEADING):
        for word in canary.split():
            hits = search(index, [word], cfg.retrieval, mode="lexical")
            assert not hits
            assert not any(index.store.frequencies(tokens(word))[1].values())
    report = sync(index, Path(index.catalog.folders()[0]), cfg.ingest)
    assert (report.unchanged, report.embedded) == (2, 0)


def test_the_receipt_lists_every_file_as_it_is_afterwards(secrets: Path, embedder: Embedder) -> None:
    receipt = json.loads(json.dumps(purge(secrets, "kb", embedder).as_json()))
    listed = {row["file"]: (row["bytes_after"], row["sha256"]) for row in receipt["files"]}
    files = {
        file.relative_to(secrets / "kb").as_posix(): (
            file.stat().st_size,
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
        for file in (secrets / "kb").rglob("*")
        if file.is_file()
    }
    assert listed == files
    assert {"CURRENT", "g0002/catalog.sqlite", "g0002/vectors.faiss"} <= listed.keys()
    assert receipt["kb"] == "kb"


def test_questions_that_nothing_was_found_for_are_forgotten(secrets: Path, embedder: Embedder) -> None:
    unanswered.keep([secrets / "kb"], f"Who are {BODY}?")
    assert unanswered.FILE in traces(secrets / "kb", BODY)
    receipt = purge(secrets, "kb", embedder)
    assert traces(secrets / "kb", BODY) == set()
    assert unanswered.FILE in receipt.removed
    assert not (secrets / "kb" / unanswered.FILE).exists()


def test_what_interrupted_work_left_behind_goes_too(secrets: Path, cfg: Config, embedder: Embedder) -> None:
    home = secrets / "kb"
    left = ["files/.upload.md.writing", "g0002/vectors.writing", ".restore-abc/catalog.sqlite", "g0003/catalog.sqlite"]
    for name in left:
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(BODY, encoding="utf-8")
    receipt = purge(secrets, "kb", embedder)
    assert traces(home, BODY) == set()
    assert sorted(receipt.removed) == sorted([*left[:2], ".restore-abc", "g0003", "g0001"])


def test_a_purge_beside_an_open_reader_leaves_no_trace_and_the_reader_goes_on(
    secrets: Path, cfg: Config, embedder: Embedder
) -> None:
    reader = Index.open(secrets, "kb", embedder)
    assert found(reader, cfg, "annual leave")[0] == "keep.md"
    purge(secrets, "kb", embedder)
    for canary in (BODY, PARAGRAPH, UPLOAD, NAME, HEADING):
        assert traces(secrets / "kb", canary) == set()
    assert found(reader, cfg, "annual leave")[0] == "keep.md"


def test_no_conversation_holds_what_was_removed_nor_what_a_model_made_of_it(
    cfg: Config, embedder: Embedder, write: Write, tmp_path: Path
) -> None:
    data = Path(cfg.app.data)
    write("keep.md", "# Leave\n\nAnnual leave is 25 days.\n\nWho is ill calls before nine.")
    write("gone.md", f"# Gone\n\nThe words {BODY} must go.")
    folder = write("edited.md", f"# Edited\n\nThis stays as it is.\n\nThe words {PARAGRAPH} must go.").parent
    run(cfg, "kb", [folder])
    upload = tmp_path / "upload.md"
    upload.write_text(f"# Upload\n\nThe words {UPLOAD} stay.", encoding="utf-8")
    Bases(cfg).upload("kb", [upload])
    index, chats = Index.open(data, "kb", embedder), Chats(data)
    reader, known = Reader("", {"kb": identity(data / "kb")}), [identity(data / "kb")]

    def answered(text: str, path: str, *told: str) -> Answer:
        result = search(index, [text], cfg.retrieval, mode="lexical")
        hit = replace(next(hit for hit in result if hit.path == path), kb="kb")
        prompt = tuple(("ai", line) for line in (hit.text, *told))
        return Answer(
            text, True, (), (Source(1, hit, hit.text),), "openai", "m", text, 0.1, trace=Trace(), prompt=prompt
        )

    def conversation(*answers: Answer) -> str:
        chat, parent = chats.begin(reader, ["kb"]).id, None
        for number, one in enumerate(answers):
            question = chats.ask(reader, chat, parent, f"question {number}")
            parent = chats.reply(reader, chat, question, one.text, one, known)
        return chat

    gone = answered(f"The words {BODY} must go.", "gone.md")
    kept = answered("Annual leave is 25 days.", "keep.md")
    asked = conversation(kept, gone, answered("Annual leave is 25 days, not", "keep.md", gone.text))
    edited = conversation(answered(f"The words {PARAGRAPH} must go.", "edited.md"))
    others = [conversation(kept, kept), conversation(answered(f"The words {UPLOAD} stay.", "upload.md"))]
    prompt = (Message(role="user", content=f'<source n="1" path="gone.md">\n{BODY}'),)
    vote = Vote(id="x:1", time="", question="q", prompt=prompt, answer=BODY, vote="up", file="elsewhere.md")
    run(cfg, "other", [write("../other/elsewhere.md", "Elsewhere.").parent])
    add_vote(votes_file(data, "other"), vote)
    (folder / "gone.md").unlink()
    write("edited.md", "# Edited\n\nThis stays as it is.")
    run(cfg, "kb")
    assert traces(data, BODY) >= {"chats.sqlite-wal", "other/votes.jsonl"}

    receipt = purge(data, "kb", embedder)
    assert traces(data, BODY) == traces(data, PARAGRAPH) == set()
    assert (receipt.answers, receipt.conversations, receipt.traces) == (3, 2, 0)
    texts = [[m.text for m in chats.branch(reader, chat) if m.role == "assistant"] for chat in (asked, edited)]
    assert texts[0][0] == kept.text
    assert all("erased" in text for text in (*texts[0][1:], *texts[1]))
    assert not any("erased" in m.text for chat in others for m in chats.branch(reader, chat))
    assert purge(data, "kb", embedder).answers == 0
