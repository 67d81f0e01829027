import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from app.answering.backend import EXTRACTIVE, resolve
from app.keeping.index import chunker, sync
from app.measuring.draft import Drafts, draft
from app.measuring.golden import GoldenQuestion, locate
from core.config import Config, load
from core.errors import ModelError
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.app_process import ROOT
from tests.app.stub_model import Reply, Stub

Write = Callable[[str, str], Path]

HEADINGS = """# Travel policy

Document 7.

## Introduction

This policy applies to all of the staff from January on.

## How to book a train

Book trains at least five days before the journey in the travel portal.

## Company cards

Company cards have a limit of 3,000 euros a month for every employee.

## Rates

| Item | Rate |
| --- | --- |
| Hotel | 160 |

```sql
SELECT everything FROM the_table WHERE it IS NOT a heading
```
"""
FAQ = """# 常见问题

### 1. 忘记密码怎么办？

请联系服务台重置密码，服务台分机是 8600。

### Q: How many pages may I print?

A: Everyone may print eighty colour pages a month.

### What is listed here?
### And here?
"""
DEFINITIONS = """# Glossary

本办法所称差旅费，是指员工因公出差发生的交通费、住宿费和补贴。

这是指公司在去年发布的另一份文件所规定的内容。

A surge protector SP-4 is defined as the module that shields the collector from lightning.

It is a module that nobody has ever asked anything about in this company.
"""


def index_of(cfg: Config, embedder: Embedder, folder: Path) -> Index:
    index = Index.open_or_create(Path(cfg.app.data), "kb", embedder, chunker(cfg.ingest))
    sync(index, folder, cfg.ingest)
    return index


def drafted(
    index: Index, cfg: Config, count: int = 50, seed: int = 0, known: list[GoldenQuestion] | None = None
) -> Drafts:
    return asyncio.run(draft(index, cfg, count, known or [], EXTRACTIVE, seed=seed))


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Index]:
    cfg = load(flags={"app.data": str(tmp_path_factory.mktemp("draft"))}, environ={}).config
    index = index_of(cfg, embedder, ROOT / "examples" / "handbook")
    yield index
    index.close()


def test_drafts_are_spread_over_the_files_in_both_languages_and_hold(handbook: Index, cfg: Config) -> None:
    made = drafted(handbook, cfg, 16).questions
    assert len(made) == 16
    assert len({question.file for question in made}) >= 15
    assert {question.language for question in made} == {"zh", "en"}
    assert {question.status for question in made} == {"draft"}
    assert locate(handbook, made)[1] == []
    assert all(question.question.endswith(("?", "？")) for question in made)


def test_the_seed_decides_and_what_is_known_is_not_proposed_again(handbook: Index, cfg: Config) -> None:
    first = drafted(handbook, cfg, 10).questions
    assert drafted(handbook, cfg, 10).questions == first
    assert drafted(handbook, cfg, 10, seed=1).questions != first
    rejected = [question.model_copy(update={"status": "rejected"}) for question in first]
    second = drafted(handbook, cfg, 100, known=rejected).questions
    assert len(second) > 20
    assert not {question.question for question in first} & {question.question for question in second}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEADINGS,
            {
                "How do I book a train?": "Book trains at least five days before the journey in the travel portal.",
                "What does “Travel policy” say about company cards?":
                    "Company cards have a limit of 3,000 euros a month for every employee.",
            },
        ),
        (
            FAQ,
            {
                "忘记密码怎么办？": "请联系服务台重置密码，服务台分机是 8600。",
                "How many pages may I print?": "Everyone may print eighty colour pages a month.",
            },
        ),
        (
            DEFINITIONS,
            {
                "什么是差旅费？": "本办法所称差旅费，是指员工因公出差发生的交通费、住宿费和补贴。",
                "What is a surge protector SP-4?":
                    "A surge protector SP-4 is defined as the module that shields the collector from lightning.",
            },
        ),
    ],
)  # fmt: skip
def test_documents_are_asked_what_they_head_ask_and_define(
    cfg: Config, embedder: Embedder, write: Write, text: str, expected: Mapping[str, str]
) -> None:
    index = index_of(cfg, embedder, write("a.md", text).parent)
    made = drafted(index, cfg).questions
    assert {question.question: question.evidence[0] for question in made} == expected


def test_the_same_sentence_in_two_files_is_asked_about_once(cfg: Config, embedder: Embedder, write: Write) -> None:
    write("a.md", HEADINGS)
    index = index_of(cfg, embedder, write("b.md", HEADINGS.replace("Travel policy", "Trips")).parent)
    assert len(drafted(index, cfg).questions) == 2


PASSAGE = "The travel department refunds railway tickets within thirty days. " * 3
GOOD = {
    "question": "How quickly are railway tickets refunded?",
    "answer": "Within thirty days.",
    "evidence": ["The travel department refunds railway tickets within thirty days."],
}


def ask_model(cfg: Config, embedder: Embedder, write: Write, stub: Stub, reply: str, failure: str = "") -> Drafts:
    write("b.md", "# Canteen\n\n" + "Lunch is served between noon and two in the canteen on the ground floor. " * 3)
    index = index_of(cfg, embedder, write("a.md", f"# Travel\n\n{PASSAGE}").parent)
    stub.reply = Reply((reply[:9], reply[9:]), failure=failure)  # type: ignore[arg-type]
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})
    told = cfg.model_copy(update={"llm": llm})

    async def run() -> Drafts:
        return await draft(index, told, 5, [], await resolve(llm))

    return asyncio.run(run())


def test_a_model_drafts_from_passages_and_only_what_they_say_is_taken(
    cfg: Config, embedder: Embedder, write: Write, stub: Stub
) -> None:
    made = ask_model(cfg, embedder, write, stub, f"```json\n{json.dumps(GOOD)}\n```")
    assert [(q.question, q.answer, q.file, q.source) for q in made.questions] == [
        (GOOD["question"], GOOD["answer"], "a.md", "model")
    ]
    assert made.bad_replies == 1  # the same reply about the canteen: its evidence does not stand there
    assert any("<passage>" in call.text and PASSAGE.strip() in call.text for call in stub.calls)


@pytest.mark.parametrize(
    "reply",
    [
        "Here is a question: how quickly?",
        json.dumps([GOOD]),
        json.dumps(GOOD | {"extra": 1}),
        json.dumps({"question": GOOD["question"], "evidence": GOOD["evidence"]}),
        json.dumps(GOOD | {"evidence": "The travel department refunds railway tickets within thirty days."}),
        json.dumps(GOOD | {"evidence": ["Tickets are refunded in a month."]}),
        json.dumps(GOOD | {"question": ""}),
        json.dumps(GOOD | {"question": "What does the passage say about railway tickets?"}),
        json.dumps(GOOD | {"question": "The travel department refunds railway tickets"}),
        json.dumps(GOOD | {"question": "How quickly are railway \ud800 tickets refunded?"}),
        "[" * 5000,
    ],
)
def test_a_reply_of_another_form_is_skipped_and_counted(
    cfg: Config, embedder: Embedder, write: Write, stub: Stub, reply: str
) -> None:
    assert ask_model(cfg, embedder, write, stub, reply) == Drafts((), 2)


def test_a_model_that_fails_is_an_error(cfg: Config, embedder: Embedder, write: Write, stub: Stub) -> None:
    with pytest.raises(ModelError):
        ask_model(cfg, embedder, write, stub, "x", failure="error")
