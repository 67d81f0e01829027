import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from app.answering.answer import Done, Event, Found, Step, Text, answer
from app.answering.backend import HOW_TO
from app.answering.plan import planned
from core.config import Config
from core.errors import ConfigError, ModelError
from core.types import Answer, Turn
from llm import chat
from prompts.context import estimate_tokens
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.stub_model import MODEL, Reply, Stub
from tests.retrieval.corpus import build


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


def asking(cfg: Config, stub: Stub, backend: str = "openai") -> Config:
    llm = cfg.llm.model_copy(update={"backend": backend, "base_url": stub.base_url})
    return cfg.model_copy(update={"llm": llm})


def events(index: Index, question: str, cfg: Config, history: Sequence[Turn] = ()) -> list[Event]:
    async def collect() -> list[Event]:
        plan = await planned(cfg, index.home)
        return [e async for e in answer(index, question, plan, history) if not isinstance(e, Step)]

    return asyncio.run(collect())


def done(found: list[Event]) -> Answer:
    last = found[-1]
    assert isinstance(last, Done)
    return last.answer


def test_without_a_model_the_passages_are_quoted_with_citations(index: Index, cfg: Config) -> None:
    stream = events(index, "How many days of annual leave?", cfg)
    assert isinstance(stream[0], Found)
    final = done(stream)
    assert (final.answered, final.backend) == (True, "extractive")
    assert "25 days" in final.text
    assert (final.citations[0].n, final.citations[0].path) == (1, "leave.md")
    assert "25 days" in final.citations[0].quote


def test_a_question_the_documents_do_not_cover_is_told_so_in_its_language(index: Index, cfg: Config) -> None:
    english = done(events(index, "Who won the football cup in Brazil?", cfg))
    chinese = done(events(index, "红烧肉怎么做？", cfg))
    assert (english.answered, english.citations, chinese.answered) == (False, (), False)
    assert "do not cover" in english.text
    assert "没有涉及" in chinese.text


def test_a_model_answers_from_numbered_sources(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("Annual leave ", "is 25 days ", "[1", "]", " [8]."))
    stream = events(index, "How many days of annual leave?", asking(cfg, stub))
    assert "".join(e.delta for e in stream if isinstance(e, Text)) == "Annual leave is 25 days [1]."
    final = done(stream)
    assert (final.text, final.backend, final.model) == ("Annual leave is 25 days [1].", "openai", MODEL)
    assert [(c.n, c.path, c.quote) for c in final.citations] == [(1, "leave.md", "Annual leave is 25 days.")]
    assert any("[8]" in note for note in final.notes)
    sent = stub.calls[-1].body
    rules, asked = sent["messages"]
    assert (rules["role"], asked["role"]) == ("system", "user")
    assert "source n=" not in rules["content"]
    assert asked["content"].startswith('<source n="1" path="leave.md"')
    assert stub.calls[-1].question == "How many days of annual leave?"
    assert (sent["temperature"], sent["top_p"], sent["stream"]) == (cfg.llm.temperature, cfg.llm.top_p, True)


@pytest.mark.parametrize(
    "pieces",
    [
        ("NO_ANSWER",), ("NO", "_ANS", "WER", "."), ("  NO_ANSWER",), ("**NO_A", "NSWER**"), ("`NO_ANSWER`",),
        ("<think>[1] says no", "thing</think>NO_ANSWER"),
    ],
)  # fmt: skip
def test_a_refusal_of_the_model_is_told_in_words_and_never_shown_raw(
    index: Index, cfg: Config, stub: Stub, pieces: tuple[str, ...]
) -> None:
    stub.reply = Reply(pieces)
    stream = events(index, "年假有几天？", asking(cfg, stub))
    shown = "".join(e.delta for e in stream if isinstance(e, Text))
    assert shown == done(stream).text == "文档中没有涉及这个问题的内容。"
    assert not done(stream).answered


def seen(stream: list[Event]) -> str:
    """What a reader sees in the end of what was streamed."""
    shown = ""
    for event in stream:
        if isinstance(event, Text):
            shown = "" if event.anew else shown + event.delta
    return shown


def test_a_refusal_behind_a_sentence_takes_it_back(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("资料中没有", "提到。NO_ANS", "WER"))
    stream = events(index, "年假有几天？", asking(cfg, stub))
    assert seen(stream) == done(stream).text == "文档中没有涉及这个问题的内容。"
    assert not done(stream).answered


def test_what_is_answered_with_a_source_stands_whatever_else_is_refused(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("年假15天 [1]。", "其他：NO_ANSWER"))
    stream = events(index, "年假有几天？", asking(cfg, stub))
    assert seen(stream) == done(stream).text == "年假15天 [1]。其他："
    assert done(stream).answered


def test_thoughts_are_kept_apart_and_not_cited(
    index: Index, cfg: Config, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "_END_THOUGHTS_ALONE", set())
    stub.reply = Reply(("资料[2]写的是", "……</think>\n\n年假", "15天（资料1）。"))
    stream = events(index, "年假有几天？", asking(cfg, stub))
    assert seen(stream) == done(stream).text == "年假15天[1]。"
    assert [citation.n for citation in done(stream).citations] == [1]
    assert done(stream).thoughts == "资料[2]写的是……"


def test_an_answer_that_ran_into_the_limit_says_so(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("年假15", "天 [1]"), finish="length")
    answer = done(events(index, "年假有几天？", asking(cfg, stub)))
    assert answer.finish == "length"
    assert "回答达到 llm.max_tokens 的上限而中断。" in answer.notes


def test_a_follow_up_is_rewritten_by_the_model(index: Index, cfg: Config, stub: Stub) -> None:
    stub.rewritten = "What is the hotel limit for travel?"
    history = [Turn("user", "Who pays for travel?"), Turn("assistant", "The company [1].")]
    stream = events(index, "And how much is it for hotels?", asking(cfg, stub), history)
    assert done(stream).query == "What is the hotel limit for travel?"
    assert done(stream).sources[0].hit.path == "travel.md"
    assert [m["role"] for m in stub.answers()[-1].body["messages"]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize("most", [11, 17])
def test_the_messages_of_a_conversation_begin_alike_from_one_question_to_the_next(
    index: Index, cfg: Config, stub: Stub, most: int
) -> None:
    stub.rows = [{"id": MODEL, "max_model_len": 8192 if most == 11 else 32768}]
    told, sent, lengths = asking(cfg, stub), [], []
    history: list[Turn] = []
    for n in range(10):
        question = f"How many days of annual leave are there in year {n}?"
        done(events(index, question, told, history))
        sent.append([m["content"] for m in stub.answers()[-1].body["messages"]])
        history += [Turn("user", question), Turn("assistant", f"Reply {n} [1].")]
        lengths.append(len(sent[-1]) - 2)
    short, long = [0, 2, 4, 6, 8, 10, 6, 8, 10, 6], [0, 2, 4, 6, 8, 10, 12, 14, 16, 6]
    assert lengths == (short if most == 11 else long)  # turns that were sent: at least six, where there are as many
    alike = [before[:-1] == after[: len(before) - 1] for before, after in pairwise(sent)]
    assert alike == [lengths[n + 1] > lengths[n] for n in range(9)]


def test_where_the_configuration_says_so_passages_stand_with_the_rules(index: Index, cfg: Config, stub: Stub) -> None:
    cfg = cfg.model_copy(update={"prompts": cfg.prompts.model_copy(update={"sources": "rules"})})
    done(events(index, "How many days of annual leave?", asking(cfg, stub)))
    rules, asked = stub.calls[-1].body["messages"]
    assert rules["content"].endswith("</source>")
    assert asked["content"] == "How many days of annual leave?"


def test_a_follow_up_without_a_model_searches_with_what_was_asked_before(index: Index, cfg: Config) -> None:
    history = [Turn("user", "报销差旅费"), Turn("assistant", "……")]
    assert done(events(index, "那住宿呢？", cfg, history)).sources[0].hit.path == "baoxiao.md"


def test_a_question_that_stands_alone_is_searched_alone(index: Index, cfg: Config) -> None:
    history = [Turn("user", "报销差旅费"), Turn("assistant", "……")]
    question = "Which port does the VPN use to connect?"
    assert done(events(index, question, cfg, history)).query == question


@pytest.mark.parametrize("failure", ["overflow", "error", "garbage", "cut"])
def test_passages_are_there_before_the_model_fails(index: Index, cfg: Config, stub: Stub, failure: str) -> None:
    stub.reply = Reply(("half an ",), failure=failure)  # type: ignore[arg-type]
    seen: list[Event] = []

    async def consume() -> None:
        async for event in answer(
            index, "How many days of annual leave?", await planned(asking(cfg, stub), index.home)
        ):
            if not isinstance(event, Step):
                seen.append(event)

    with pytest.raises(ModelError) as error:
        asyncio.run(consume())
    assert isinstance(seen[0], Found)
    assert seen[0].sources[0].hit.path == "leave.md"
    assert error.value.hint


def test_an_endpoint_that_is_down_is_never_replaced_silently(index: Index, cfg: Config) -> None:
    down = {"base_url": "http://127.0.0.1:9/v1"}
    auto = cfg.model_copy(update={"llm": cfg.llm.model_copy(update=down | {"backend": "auto"})})
    final = done(events(index, "annual leave days", auto))
    assert final.backend == "extractive"
    assert "no model server answers at http://127.0.0.1:9/v1" in final.notes[0]
    strict = cfg.model_copy(update={"llm": cfg.llm.model_copy(update=down | {"backend": "openai"})})
    with pytest.raises(ModelError, match="no model server"):
        events(index, "annual leave days", strict)


def test_backends_that_lack_their_setting_say_which(index: Index, cfg: Config) -> None:
    for backend, key in (("openai", "llm.base_url"), ("vllm", "llm.vllm_model")):
        bare = cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"backend": backend})})
        with pytest.raises(ConfigError, match=key):
            events(index, "x", bare)


def test_with_nothing_configured_the_reader_is_told_how_to_get_a_model(index: Index, cfg: Config) -> None:
    auto = cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"backend": "auto"})})
    assert done(events(index, "annual leave days", auto)).notes == (HOW_TO,)


def test_leaving_the_stream_cancels_the_request(index: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("word ",) * 200, delay_s=0.05)

    async def leave_early() -> None:
        stream = answer(index, "annual leave days", await planned(asking(cfg, stub), index.home))
        async for event in stream:
            if isinstance(event, Text):
                break
        await stream.aclose()

    asyncio.run(leave_early())
    assert stub.calls[-1].left.wait(5)
    assert stub.calls[-1].sent < 150


def test_a_model_of_small_context_is_sent_what_fits_beside_its_answer(
    cfg: Config, embedder: Embedder, stub: Stub
) -> None:
    texts = {f"{n}.md": f"The pump of hall {n} is oiled. " * 120 for n in range(8)}
    index = build(cfg, embedder, texts, kb="pumps")
    cfg = asking(cfg, stub)  # its server names a context of 4,096 tokens
    sent = {}
    for most in (500, 3_000, 100_000):
        retrieval = cfg.retrieval.model_copy(update={"context_tokens": most, "neighbours": 2})
        done(events(index, "Which pump is oiled?", cfg.model_copy(update={"retrieval": retrieval})))
        sent[most] = sum(estimate_tokens(m["content"]) for m in stub.calls[-1].body["messages"])
    assert sent[500] < sent[3_000] <= sent[100_000] <= 4096 - cfg.llm.max_tokens


@pytest.mark.parametrize("backend", ["extractive", "openai"])
def test_half_of_a_surrogate_pair_in_a_question_is_no_error(
    index: Index, cfg: Config, stub: Stub, backend: str
) -> None:
    before = [Turn("user", "\ud800 hello"), Turn("assistant", "\udfff hello")]
    answered = done(events(index, "How many days\ud800 of annual leave?", asking(cfg, stub, backend), before))
    assert answered.sources
    str(answered).encode("utf-8")
