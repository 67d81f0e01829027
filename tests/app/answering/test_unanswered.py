"""Questions that nothing was found for are kept where somebody says so, in a small file, and never with who asked."""

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.answering import unanswered
from app.answering.answer import Done, Found, answer
from app.answering.find import Scope
from app.answering.plan import Manner, planned
from core.config import Config
from core.errors import ModelError
from core.types import Turn
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.index import Index
from tests.app.stub_model import Reply, Stub
from tests.retrieval.corpus import build

NOWHERE = "Who won the football cup in Brazil?"


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    return build(cfg, embedder)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def keeping(cfg: Config, **llm: object) -> Config:
    app = cfg.app.model_copy(update={"keep_unanswered": True})
    return cfg.model_copy(update={"app": app, "llm": cfg.llm.model_copy(update=llm)})


def ask(index: Index, question: str, cfg: Config, *also: Scope, where: Filter | None = None) -> bool:
    """Whether there was an answer."""

    async def last() -> bool:
        plan = await planned(cfg, index.home)
        events = [event async for event in answer(index, question, plan, (), where, also=also)]
        assert isinstance(events[-1], Done)
        return events[-1].answer.answered

    return asyncio.run(last())


def kept(index: Index) -> list[tuple[str, int]]:
    return [(row.question, row.count) for row in unanswered.read(index.home)]


def test_nothing_is_kept_unless_somebody_says_so(index: Index, cfg: Config) -> None:
    assert not ask(index, NOWHERE, cfg)
    assert not (index.home / unanswered.FILE).exists()


def test_what_is_not_covered_is_counted_by_its_wording_and_what_is_answered_is_not(index: Index, cfg: Config) -> None:
    on = keeping(cfg)
    assert ask(index, "How many days of annual leave?", on)
    for question in (NOWHERE, "who won the  FOOTBALL cup in Brazil", "红烧肉怎么做？", "紅燒肉怎麼做"):
        assert not ask(index, question, on)
    rows = unanswered.read(index.home)
    assert [(row.question, row.count) for row in rows] == [
        ("紅燒肉怎麼做", 2), ("who won the FOOTBALL cup in Brazil", 2),
    ]  # fmt: skip
    assert all(0 < row.first < row.last for row in rows)
    lines = (index.home / unanswered.FILE).read_text("utf-8").splitlines()
    assert {key for line in lines for key in json.loads(line)} == {"question", "count", "first", "last"}


def test_a_models_refusal_counts_and_what_it_failed_at_does_not(index: Index, cfg: Config, stub: Stub) -> None:
    on = keeping(cfg, backend="openai", base_url=stub.base_url)
    stub.reply = Reply(("NO_ANSWER",))
    assert not ask(index, "Is annual leave paid out in May?", on)
    stub.reply = Reply(("<think>leave",), finish="length")
    with pytest.raises(ModelError):
        ask(index, "Is sick leave paid out in May?", on)
    assert kept(index) == [("Is annual leave paid out in May?", 1)]


def test_what_a_filter_left_nothing_of_says_nothing_of_the_collection(index: Index, cfg: Config) -> None:
    assert not ask(index, "How many days of annual leave?", keeping(cfg), where=Filter(paths=("none/**",)))
    assert kept(index) == []
    assert not ask(index, NOWHERE, keeping(cfg), where=Filter())
    assert kept(index) == [(NOWHERE, 1)]


def test_each_knowledge_base_that_was_asked_counts_it(index: Index, cfg: Config, embedder: Embedder) -> None:
    other = build(cfg, embedder, {"pump.md": "The pump of hall two runs at night."}, "other")
    third = build(cfg, embedder, {"a.md": "The garage opens at six."}, "third")
    assert not ask(index, NOWHERE, keeping(cfg), (other, None), (third, Filter(types=("md",))))
    assert (kept(index), kept(other), kept(third)) == ([(NOWHERE, 1)], [(NOWHERE, 1)], [])


@pytest.mark.parametrize(
    ("before", "kept_as"),
    [
        (frozenset({"kb"}), ["What does the chief earn? And who won it in Brazil?"]),
        (frozenset({"kb", "payroll"}), []), (frozenset({"payroll"}), []), (None, []),
    ],
    ids=["of this one", "of another one too", "of another one", "of nobody knows which"],
)  # fmt: skip
@pytest.mark.parametrize("by_model", [False, True], ids=["by words", "by a model"])
def test_what_was_said_of_another_knowledge_base_does_not_come_to_the_editors_of_this_one(
    index: Index, cfg: Config, stub: Stub, before: frozenset[str] | None, kept_as: list[str], by_model: bool
) -> None:
    on = keeping(cfg, **({"backend": "openai", "base_url": stub.base_url} if by_model else {}))
    if by_model:
        on = on.model_copy(update={"retrieval": on.retrieval.model_copy(update={"variants": 0})})
        stub.reply = Reply(("What does the chief earn? And who won it in Brazil?",))
    said = [Turn("user", "What does the chief earn?"), Turn("assistant", "900000 [1]")]

    async def asked(question: str) -> None:
        plan = await planned(on, index.home, Manner(before=before))
        async for event in answer(index, question, plan, said):
            if by_model and isinstance(event, Found):
                stub.reply = Reply(("NO_ANSWER",))

    asyncio.run(asked("And who won it in Brazil?"))
    assert [question for question, _ in kept(index)] == kept_as


def test_a_question_that_says_all_itself_is_kept_as_it_was_typed(index: Index, cfg: Config, stub: Stub) -> None:
    on = keeping(cfg, backend="openai", base_url=stub.base_url)
    stub.reply = Reply(("Who won, where the chief earns 900000, the football cup?",))

    async def asked() -> None:
        plan = await planned(on, index.home)
        async for event in answer(index, NOWHERE, plan, [Turn("user", "And the chief?"), Turn("assistant", "900000")]):
            if isinstance(event, Found):
                assert "900000" in event.query
                stub.reply = Reply(("NO_ANSWER",))

    asyncio.run(asked())
    assert kept(index) == [(NOWHERE, 1)]


def test_the_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path, open_umask: None) -> None:
    for question in ("One?", "Two?"):
        unanswered.keep([tmp_path], question)
    for name in (unanswered.FILE, "unanswered.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert {file.name for file in tmp_path.iterdir()} == {unanswered.FILE, "unanswered.lock"}


def test_it_stays_small_whatever_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unanswered, "MOST", 5)
    for _ in range(2):
        unanswered.keep([tmp_path], "asked twice")
    for n in range(8):
        unanswered.keep([tmp_path], f"{n} " + "很长" * 5_000)
    rows = unanswered.read(tmp_path)
    assert [row.question[:2] for row in rows] == ["as", "7 ", "6 ", "5 ", "4 "]
    assert {len(row.question) for row in rows[1:]} == {unanswered.LONGEST}
    unanswered.keep([tmp_path], rows[1].question)  # what was cut is known again
    assert unanswered.read(tmp_path)[0].count == 2


def test_what_steers_a_terminal_or_says_nothing_is_not_kept(tmp_path: Path) -> None:
    unanswered.keep([tmp_path], "red \x1b[31m\r\n and \u202e back\ud800 now?")
    for empty in ("", " \n ", "？！", "\x00"):
        unanswered.keep([tmp_path], empty)
    (row,) = unanswered.read(tmp_path)
    assert row.question == "red [31m and back? now?"


def test_lines_that_are_none_of_ours_are_passed_over(tmp_path: Path) -> None:
    row = {"question": "Where?", "count": 2, "first": 1.0, "last": 2.0}
    bad: list[object] = [
        [], 7, {"question": "x"}, row | {"count": 0}, row | {"count": "many"}, row | {"last": float("inf")},
        row | {"question": " "},
    ]  # fmt: skip
    lines = [json.dumps(one) for one in (*bad, row)]
    (tmp_path / unanswered.FILE).write_bytes(
        "\n".join([*lines, '{"question": "torn', "[" * 9_000]).encode() + b"\xff\n"
    )
    assert [(one.question, one.count) for one in unanswered.read(tmp_path)] == [("Where?", 2)]


def test_some_are_forgotten_by_their_ids_and_all_without(tmp_path: Path) -> None:
    for question in ("One?", "Two?", "Three?"):
        unanswered.keep([tmp_path], question)
    ids = {row.question: row.id for row in unanswered.read(tmp_path)}
    assert unanswered.forget(tmp_path, [ids["One?"], "none"]) == 1
    assert {row.question for row in unanswered.read(tmp_path)} == {"Two?", "Three?"}
    assert unanswered.forget(tmp_path) == 2
    assert not (tmp_path / unanswered.FILE).exists()
    assert unanswered.forget(tmp_path) == 0


def test_of_questions_at_once_none_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: unanswered.keep([tmp_path], f"Question {n % 4}?"), range(24)))
    assert sorted(row.count for row in unanswered.read(tmp_path)) == [6, 6, 6, 6]


def test_a_folder_that_is_away_is_not_made_and_stops_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unanswered.keep([tmp_path / "away"], "Where?")
    unanswered.keep([tmp_path / "away" / "kb"], "Where?", make=True)
    assert not (tmp_path / "away").exists()
    (tmp_path / unanswered.FILE).mkdir()
    unanswered.keep([tmp_path], "A marker question?")
    assert "was not counted" in caplog.text
    assert "marker" not in caplog.text


def test_where_the_knowledge_base_lies_in_a_database_its_folder_is_made(tmp_path: Path, open_umask: None) -> None:
    unanswered.keep([tmp_path / "kb"], "Where?", make=True)
    assert [row.question for row in unanswered.read(tmp_path / "kb")] == ["Where?"]
    assert stat.S_IMODE((tmp_path / "kb").stat().st_mode) == 0o700


def test_a_follow_up_is_kept_as_it_was_searched_for(index: Index, cfg: Config) -> None:
    async def asked() -> str:
        plan = await planned(keeping(cfg), index.home, Manner(before=frozenset({index.name})))
        history = [Turn("user", NOWHERE), Turn("assistant", "The documents do not cover this question.")]
        events = [event async for event in answer(index, "And in Peru?", plan, history)]
        assert isinstance(events[-1], Done)
        return events[-1].answer.query

    query = asyncio.run(asked())
    assert kept(index) == [(unanswered.read(index.home)[0].question, 1)]
    assert "football" in query
    assert "football" in kept(index)[0][0]
