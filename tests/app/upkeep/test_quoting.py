"""Purge: what a prompt quoted of a document that is gone is in no version any more, and in no prompt that was sent."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.answering.promotions import Choice, promote, promotions, settings_for
from app.keeping.index import run
from app.running.chats import Chats, Reader
from app.upkeep.purge import purge
from core.config import Config
from core.errors import PromptError
from core.types import Answer
from prompts.load import Demo, Prompt
from prompts.resting import mark
from prompts.versions import furnish, save, versions
from retrieval.embed import Embedder
from retrieval.home import identity

BODY, KEPT = "The words zyxqvbody must go.", "Annual leave is 25 days."
PARTS = {"en": ("{sources}", "{question}")}


def quoting(path: str, text: str, rests_on: str | None, name: str = "shown", notes: str = "") -> Prompt:
    """A version with a demonstration of a passage."""
    sources = f'<source n="1" path="{path}" heading="h">\n{text}\n</source>'
    demos = {"en": (Demo({"question": "What?", "sources": sources}, f"{text} [1]."),)}
    return Prompt(name, 0, "", ("sources", "question"), PARTS, demos, "", notes, rests_on)


@pytest.fixture
def library(cfg: Config, tmp_path: Path, write: Callable[[str, str], Path]) -> Path:
    """A library; `kb` holds keep.md and gone.md, `other` something else."""
    folder = write("keep.md", f"# Leave\n\n{KEPT}").parent
    write("gone.md", f"# Gone\n\n{BODY}")
    run(cfg, "kb", [folder])
    run(cfg, "other", [write("../other/o.md", "# Other\n\nElse.").parent])
    furnish(tmp_path / "library")
    save(tmp_path / "library", Prompt("plain", 0, "", ("sources", "question"), PARTS))
    return tmp_path / "library"


def test_versions_that_quote_what_is_gone_go_with_their_promotions_and_the_prompts_that_showed_them(
    cfg: Config, library: Path, tmp_path: Path, embedder: Embedder
) -> None:
    data = Path(cfg.app.data)
    base, other = (mark(identity(data / kb), data) for kb in ("kb", "other"))
    kept, gone = save(library, quoting("keep.md", KEPT, base)), save(library, quoting("gone.md", BODY, base))
    worded = save(library, replace(kept, parts={"en": (f"{BODY} {{sources}}", "{question}")}, name="worded"))
    earlier = save(library, quoting("gone.md", BODY, None, "earlier", "p with demonstrations from kb: 1 en"))
    others = save(library, quoting("o.md", "What is not there", other, "others"))
    for version in (kept, gone):
        promote(library, data / "kb", Choice(name="shown", version=version.version), base=base.partition("@")[0])
    chats, reader = Chats(data), Reader("", {"kb": identity(data / "kb")})
    chat = chats.begin(reader, ["kb"]).id
    sent = tuple(
        (message.type, str(message.content)) for message in gone.render("en", {"sources": "", "question": "?"})
    )
    answer = Answer("Yes.", True, (), (), "b", "m", "q", 0.0, prompt=sent)
    question = chats.ask(reader, chat, None, "question")
    reply = chats.reply(reader, chat, question, "Yes.", answer, [identity(data / "kb")])
    (tmp_path / "docs" / "gone.md").unlink()
    run(cfg, "kb")

    receipt = purge(data, "kb", embedder, "", library)
    removed = [line for line in receipt.removed if line.startswith("prompt")]
    assert removed == [
        f"prompts: {earlier.label}", f"prompts: {gone.label}", f"prompts: {worded.label}", f"prompt.json: {gone.label}"
    ]  # fmt: skip
    assert (versions(library, "shown"), versions(library, "others")) == ([kept.version], [others.version])
    assert [row.choice.version for row in promotions(data / "kb")] == [kept.version]
    for folder in (library, data):
        assert not [file for file in folder.rglob("*") if file.is_file() and b"zyxqvbody" in file.read_bytes()]
    (said,) = [m for m in chats.branch(reader, chat) if m.id == reply]
    assert (said.text, said.answer and said.answer.prompt) == ("Yes.", ())


def test_what_quotes_a_knowledge_base_that_was_removed_goes_with_the_next_purge_of_its_data_folder_alone(
    cfg: Config, library: Path, tmp_path: Path, embedder: Embedder
) -> None:
    data = Path(cfg.app.data)
    base = identity(data / "other")
    save(library, quoting("o.md", "Else.", mark(base, data)))
    elsewhere = save(library, quoting("o.md", "Else.", mark(base, tmp_path / "another data folder")))
    shutil.rmtree(data / "other")
    assert "prompts: shown/v001" in purge(data, "kb", embedder, "", library).removed
    assert versions(library, "shown") == [elsewhere.version]


def test_a_version_answers_the_knowledge_base_that_it_quotes_and_no_other(cfg: Config, library: Path) -> None:
    data = Path(cfg.app.data)
    ids = {kb: identity(data / kb) for kb in ("kb", "other")}
    plain = cfg.model_copy(
        update={"prompts": cfg.prompts.model_copy(update={"library": str(library), "answer": "plain"})}
    )
    newest = plain.model_copy(update={"prompts": plain.prompts.model_copy(update={"answer_version": 0})})
    named = plain.model_copy(update={"prompts": plain.prompts.model_copy(update={"answer_version": 2})})
    saved = save(library, quoting("keep.md", KEPT, mark(ids["kb"], data), "plain"))
    choice = Choice(name="plain", version=saved.version)
    with pytest.raises(PromptError, match="another knowledge base than 'other'"):
        promote(library, data / "other", choice, base=ids["other"])
    assert [settings_for(newest, data / kb).prompts.answer_version for kb in ids] == [2, 1]
    assert settings_for(named, data / "kb").prompts.answer_version == 2
    with pytest.raises(PromptError, match="another knowledge base than 'other'"):
        settings_for(named, data / "other")
    promote(library, data / "kb", choice, base=ids["kb"])
    shutil.copy(data / "kb" / "prompt.json", data / "other" / "prompt.json")
    assert settings_for(plain, data / "kb").prompts.answer_version == 2
    with pytest.raises(PromptError, match="another knowledge base than 'other'"):
        settings_for(plain, data / "other")
    assert json.loads((data / "other" / "prompt.json").read_text("utf-8"))["history"]
