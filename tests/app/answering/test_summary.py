"""A summary of a document that the question names: recognised conservatively, quoted without a model, given to one."""

import asyncio
from pathlib import Path

import pytest

from app.answering.answer import Done, Found, answer
from app.answering.summary import named_document
from app.keeping.index import chunker, sync
from core.config import Config, load
from core.types import Answer
from retrieval.central import whole
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from tests.app.stub_model import Stub
from tests.retrieval.sql import select


@pytest.fixture(scope="module")
def index(handbook: Path) -> Index:
    return Index.open(handbook, "handbook", Embedder(Config().retrieval))


def named(question: str, index: Index, where: Filter | None = None) -> str:
    found = named_document(question, [(index, where)])
    return found.document.hits[0].path if found else ""


VPN, LEAVE, ZH = "it/vpn-and-accounts.md", "people/leave-policy.md", "people/休假制度.docx"


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("Summarize vpn-and-accounts.md", VPN), ("Please give me a short summary of it/vpn-and-accounts.md.", VPN),
        ("What is VPN-and-accounts about?", VPN), ("总结一下《VPN 与账号使用说明》", VPN),
        ("用三句话概括 vpn-and-accounts.md 的主要内容", VPN), ("总结一下 休假制度.docx", ZH),
        ("休假制度讲了什么？", ZH), ("Summarise leave-policy.md in five sentences", LEAVE),
        ("summary: Leave policy", LEAVE),
        ("Could you summarize the file leave-policy-2024.md, please?", "archive/leave-policy-2024.md"),
    ],
)  # fmt: skip
def test_a_document_whose_summary_is_asked_for_is_recognised(index: Index, question: str, path: str) -> None:
    assert named(question, index) == path


@pytest.mark.parametrize(
    "question",
    [
        "How many days of leave does the leave policy give?", "Summarize the notice periods in leave-policy.md",
        "What does leave-policy.md say about sabbaticals?", "总结一下 休假制度.docx 里的病假规定", "总结一下年休假制度",
        "Summarize everything", "Summarize other.md", "vpn-and-accounts.md",
        "Compare leave-policy.md with 休假制度.docx",
        "What is a sabbatical about?", "请写一份工作总结", "Summarize " + "leave-policy.md " * 40,
    ],
)  # fmt: skip
def test_any_other_question_is_not(index: Index, question: str) -> None:
    assert named(question, index) == ""


def test_the_one_document_that_is_searched_needs_no_name(index: Index) -> None:
    assert named("总结一下", index, Filter(paths=(VPN,))) == VPN
    assert named("Summarize this file.", index, Filter(paths=(VPN,))) == VPN
    assert named("Summarize leave-policy.md", index, Filter(paths=("it/**",))) == ""
    assert named("Summarize this file.", index) == ""


def asked(question: str, index: Index, cfg: Config) -> tuple[Answer, Found]:
    async def events() -> tuple[Answer, Found]:
        found = None
        async for event in answer(index, question, cfg):
            found = event if isinstance(event, Found) else found
            if isinstance(event, Done) and found:
                return event.answer, found
        raise AssertionError("no answer")

    return asyncio.run(events())


BARE = load(flags={"llm.backend": "extractive"}, environ={}).config


def test_without_a_model_the_document_is_quoted_from_its_opening_to_its_end(index: Index) -> None:
    done, _ = asked("总结一下 vpn-and-accounts.md", index, BARE)
    assert done.answered
    lines = done.text.splitlines()
    quotes = [line for line in lines if line.startswith("> ")]
    assert quotes[0].startswith("> 信息技术部编写，2026 年 4 月更新。")
    assert all(line.endswith("]") for line in quotes)
    assert 4 <= len(quotes) <= 6
    assert len(quotes) == len(set(quotes))
    assert {"- 账号开通", "- 连接 VPN", "- 离职与转岗"} < set(lines)
    text = (Path(__file__).parents[3] / "examples/handbook" / VPN).read_text("utf-8")
    for quote in quotes[1:]:
        assert quote[2:].rpartition(" [")[0] in text
    assert {source.hit.path for source in done.sources} == {VPN}
    assert len(done.citations) > 2


def test_the_sentences_are_those_nearest_to_the_centre(index: Index) -> None:
    (document,) = select(index.catalog, "SELECT id FROM documents WHERE path = ?", [LEAVE])
    known = whole(index, document[0])
    done, _ = asked("Summarize leave-policy.md", index, BARE)
    quoted = [line[2:].rpartition(" [")[0] for line in done.text.splitlines() if line.startswith("> ")][1:]
    text = " ".join(hit.text for hit in known.hits)
    others = [part.strip() + "." for part in text.replace("\n", " ").split(".") if 40 < len(part) < 200]
    assert known.centre is not None
    near, all_ = (index.embedder.embed_passages(texts) @ known.centre for texts in (quoted, others))
    assert near.mean() > all_.mean()


def test_a_model_is_given_the_same_passages(index: Index, stub: Stub) -> None:
    cfg = load(flags={"llm.base_url": stub.base_url}, environ={}).config
    done, found = asked("Summarize leave-policy.md", index, cfg)
    bare, _ = asked("Summarize leave-policy.md", index, BARE)
    assert [s.text for s in done.sources] == [s.text for s in bare.sources] == [s.text for s in found.sources]
    assert len(stub.calls) == 1
    assert stub.varied == []
    for source in done.sources:
        assert source.text[:40] in stub.calls[0].text
    assert done.text == "The answer stands here [1]."


def test_a_long_document_is_given_as_far_as_there_is_room(index: Index, stub: Stub) -> None:
    flags = {"llm.base_url": stub.base_url, "retrieval.context_tokens": 500}
    done, _ = asked("Summarize leave-policy.md", index, load(flags=flags, environ={}).config)
    bare, _ = asked("Summarize leave-policy.md", index, BARE)
    assert 1 < len(done.sources) < len(bare.sources)
    assert done.sources[0].text == bare.sources[0].text


def test_a_document_that_the_embedder_cannot_read_is_summed_up_by_its_beginning(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "制度.md").write_text(
        "# 制度\n\n年休假为二十五天，须提前三天申请。\n\n## 病假\n\n病假须提交医院证明原件。\n"
    )
    cfg = load(flags={"retrieval.embedder": "english", "llm.backend": "extractive"}, environ={}).config
    index = Index.open_or_create(tmp_path / "data", "kb", Embedder(cfg.retrieval), chunker(cfg.ingest))
    sync(index, tmp_path / "notes", cfg.ingest)
    done, _ = asked("总结一下 制度.md", index, cfg)
    assert "> 年休假为二十五天，须提前三天申请。" in done.text
    assert "- 病假" in done.text
