"""Conversations as they are kept: branches, search, owners, export, and what is erased with a document."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.running.chats import Chats, Reader
from core.errors import AccessError, CatalogError
from core.types import Answer, Candidate, Citation, Hit, Query, Source, Trace, Turn


def ids(*kbs: str) -> dict[str, str]:
    """Knowledge bases that are seen; here the id of each is its name."""
    return {kb: kb for kb in kbs}


ANN, BOB = Reader("ann", ids("hr", "it")), Reader("bob", ids("hr", "it"))


@pytest.fixture
def chats(tmp_path: Path) -> Chats:
    return Chats(tmp_path)


class Gone:
    """A knowledge base that holds no document any more but some; its name is its id."""

    def __init__(self, kb: str, *paths: str) -> None:
        self.kb = self.id = kb
        self.paths = paths

    def holds(self, source: Mapping[str, Any]) -> bool:
        return self.has(source["hit"]["path"])

    def has(self, path: str) -> bool:
        return path in self.paths


def answer(text: str, path: str = "leave.md", kb: str = "hr") -> Answer:
    hit = Hit(1, 0.9, 7, "/docs", path, "Leave", 3, ("Leave",), 0, 8, "25 days.", "en", 0, 4, kb=kb)
    return Answer(
        text, True, (Citation(1, path, 3, "25 days."),), (Source(1, hit, "25 days."),), "openai", "m", "leave?", 0.5,
        ("a note",), Trace(), (("system", "Use 25 days."), ("human", "leave?")), (("find", 1.5),),
    )  # fmt: skip


def talk(chats: Chats, *said: str, owner: Reader = ANN) -> tuple[str, list[int]]:
    """A conversation of question, answer, question, ...; its id and those of its messages."""
    chat, ids = chats.begin(owner, ["hr"]), []
    for n, text in enumerate(said):
        parent = ids[-1] if ids else None
        ids.append(
            chats.ask(owner, chat.id, parent, text)
            if n % 2 == 0
            else chats.reply(owner, chat.id, ids[-1], text, answer(text), ["hr"])
        )
    return chat.id, ids


def texts(chats: Chats, chat: str, owner: Reader = ANN) -> list[str]:
    return [message.text for message in chats.branch(owner, chat)]


def test_what_was_said_is_there_after_a_restart_with_all_that_it_rests_on(chats: Chats, tmp_path: Path) -> None:
    chat, _ = talk(chats, "How many days?", "25 [1].")
    question, reply = Chats(tmp_path).branch(ANN, chat)
    assert (question.role, question.text, question.answer) == ("user", "How many days?", None)
    assert reply.answer == answer("25 [1].")
    assert Chats(tmp_path).get(ANN, chat).title == "How many days?"


def test_questions_that_wait_follow_the_answer_that_they_waited_for(chats: Chats) -> None:
    chat, (first,) = talk(chats, "First?")
    second = chats.ask(ANN, chat, first, "Second?")
    third = chats.ask(ANN, chat, second, "Third?")
    assert texts(chats, chat) == ["First?", "Second?", "Third?"]
    for question, text in ((first, "One."), (second, "Two."), (third, "Three.")):
        chats.reply(ANN, chat, question, text, None, ["hr"])
    assert texts(chats, chat) == ["First?", "One.", "Second?", "Two.", "Third?", "Three."]
    assert all(message.siblings == 1 for message in chats.branch(ANN, chat))


def test_a_model_is_not_told_of_a_question_that_was_never_answered(chats: Chats) -> None:
    chat, (_, reply) = talk(chats, "First?", "One.")
    lost = chats.ask(ANN, chat, reply, "Lost?")
    last = chats.ask(ANN, chat, lost, "Last?")
    assert chats.history(ANN, chat, last)[0] == [Turn("user", "First?"), Turn("assistant", "One.")]


def test_an_edited_question_and_a_repeated_answer_are_branches_beside_the_old_ones(chats: Chats) -> None:
    chat, (first, reply) = talk(chats, "Days of leave?", "25.")
    again = chats.reply(ANN, chat, first, "Twenty-five.", None, ["hr"])
    assert texts(chats, chat) == ["Days of leave?", "Twenty-five."]
    assert [(m.place, m.siblings) for m in chats.branch(ANN, chat)] == [(1, 1), (2, 2)]
    other = chats.ask(ANN, chat, None, "Days of sick leave?")
    chats.reply(ANN, chat, other, "Ten.", None, ["hr"])
    assert texts(chats, chat) == ["Days of sick leave?", "Ten."]

    chats.turn(ANN, chat, other, -1)  # the newest branch below the first question
    assert texts(chats, chat) == ["Days of leave?", "Twenty-five."]
    chats.turn(ANN, chat, again, -1)
    assert texts(chats, chat) == ["Days of leave?", "25."]
    chats.turn(ANN, chat, reply, -1)  # there is none before it
    assert texts(chats, chat) == ["Days of leave?", "25."]
    follow = chats.ask(ANN, chat, reply, "And abroad?")
    assert chats.history(ANN, chat, follow)[0] == [Turn("user", "Days of leave?"), Turn("assistant", "25.")]


def test_an_answer_grows_until_it_is_complete(chats: Chats) -> None:
    chat, (question,) = talk(chats, "How many?")
    reply = chats.reply(ANN, chat, question, "", None, ["hr"])
    chats.amend(reply, "25", None)
    assert [(m.text, m.answer) for m in chats.branch(ANN, chat)][1] == ("25", None)
    chats.amend(reply, "25 [1].", answer("25 [1]."))
    assert chats.branch(ANN, chat)[1].answer == answer("25 [1].")


def test_conversations_are_found_by_their_words_newest_first(chats: Chats) -> None:
    first, _ = talk(chats, "年假有几天？", "二十五天。")
    second, ids = talk(chats, "VPN address?", "vpn.example")
    chats.begin(ANN, ["hr"])  # in which nothing was said
    assert [chat.id for chat in chats.latest(ANN)] == [second, first]
    assert [chat.id for chat in chats.latest(ANN, "二十五")] == [first]
    assert [chat.id for chat in chats.latest(ANN, "vpn EXAMPLE")] == [second]
    assert chats.latest(ANN, "100%_") == []
    chats.rename(ANN, first, " Leave \n and more ")
    assert [chat.title for chat in chats.latest(ANN, "and more")] == ["Leave and more"]
    chats.ask(ANN, second, ids[-1], "x")
    chats.delete(ANN, second)
    assert [chat.id for chat in chats.latest(ANN)] == [first]
    assert b"vpn.example" not in b"".join(p.read_bytes() for p in chats.file.parent.glob("chats.sqlite"))


def test_a_pinned_conversation_stands_first_and_one_lies_in_the_folder_that_its_name_begins_with(chats: Chats) -> None:
    first, _ = talk(chats, "One?", "1.")
    second, _ = talk(chats, "Two / three?", "2.")
    assert [(c.id, c.title, c.folder) for c in chats.latest(ANN)] == [(second, "Two / three?", ""), (first, "One?", "")]
    chats.pin(ANN, first, True)
    chats.rename(ANN, second, "Work  / Travel / Rome")
    assert [(c.id, c.pinned, c.title, c.folder) for c in chats.latest(ANN)] == [
        (first, True, "One?", ""), (second, False, "Rome", "Work / Travel"),
    ]  # fmt: skip
    chats.pin(ANN, first, False)
    chats.rename(ANN, second, "Rome")
    assert [(c.id, c.folder) for c in chats.latest(ANN)] == [(second, ""), (first, "")]


def test_a_conversation_is_its_owners_alone(chats: Chats) -> None:
    chat, (question, reply) = talk(chats, "How many?", "25.")
    mine, _ = talk(chats, "What?", owner=BOB)
    assert [c.id for c in chats.latest(BOB)] == [mine]
    for attempt in (
        lambda: chats.get(BOB, chat),
        lambda: chats.branch(BOB, chat),
        lambda: chats.markdown(BOB, chat),
        lambda: chats.delete(BOB, chat),
        lambda: chats.rename(BOB, chat, "x"),
        lambda: chats.ask(BOB, chat, None, "x"),
        lambda: chats.turn(BOB, chat, question, 1),
        lambda: chats.vote(BOB, chat, reply, "up"),
        lambda: chats.pin(BOB, chat, True),
        lambda: chats.holding(BOB, reply),
        lambda: chats.holding(ANN, 10**30),
        lambda: chats.ask(BOB, mine, reply, "behind a message of another conversation"),
    ):
        with pytest.raises(AccessError):
            attempt()
    assert texts(chats, chat) == ["How many?", "25."]


def test_votes_and_what_a_conversation_asks_are_kept(chats: Chats) -> None:
    chat, (_, reply) = talk(chats, "How many?", "25.")
    chats.vote(ANN, chat, reply, "down")
    chats.settle(ANN, chat, ["it", "hr"], True)
    assert chats.branch(ANN, chat)[1].vote == "down"
    assert (chats.get(ANN, chat).bases, chats.get(ANN, chat).open_mode) == (("it", "hr"), True)


def test_a_conversation_leaves_as_markdown_with_its_citations(chats: Chats) -> None:
    chat, _ = talk(chats, "How many days?\nReally?", "25 [1].")
    lines = chats.markdown(ANN, chat).splitlines()
    assert lines[0] == "# How many days? Really?"
    assert lines[4:] == ["> How many days?", "> Really?", "", "25 [1].", "", "- [1] leave.md, p. 3: 25 days."]


def test_a_conversation_that_leaves_opens_nothing_elsewhere(chats: Chats) -> None:
    chat, _ = talk(
        chats, "![q](http://e.example)", "![a](http://e.example/a.png) <img src=http://e.example/b.png> `c[0](d)`"
    )
    text = chats.markdown(ANN, chat)
    assert "[q](" not in text
    assert "[a](" not in text
    assert "\\<img" in text
    assert "`c[0](d)`" in text


def test_answers_that_rest_on_a_deleted_document_are_erased(chats: Chats) -> None:
    chat, (question, _) = talk(chats, "How many days?", "Secret 25 [1].")
    kept = chats.reply(ANN, chat, question, "Ten [1].", answer("Ten [1].", "sick.md"), ["hr"])
    elsewhere, _ = talk(chats, "Other?", "Also secret.")
    chats.amend(chats.branch(ANN, elsewhere)[1].id, "Also.", answer("Also.", kb="it"))
    forgotten = chats.forget(Gone("hr", "sick.md"))
    assert [of for of, _ in forgotten.answers] == [chat]
    assert forgotten.conversations == 1
    assert chats.branch(ANN, chat)[1].text == "Ten [1]."
    chats.turn(ANN, chat, kept, -1)
    assert "erased" in texts(chats, chat)[1]
    assert texts(chats, elsewhere)[1] == "Also."
    assert b"Secret 25" not in b"".join(p.read_bytes() for p in chats.file.parent.iterdir())


def stored(chats: Chats) -> bytes:
    return b"".join(file.read_bytes() for file in chats.file.parent.iterdir())


def test_what_follows_an_answer_that_is_erased_is_erased_and_what_stands_beside_it_is_not(chats: Chats) -> None:
    chat, (question, first) = talk(chats, "How many days?", "Secret 25 [1].")
    below = chats.ask(ANN, chat, first, "In other words?")
    retold = replace(answer("Five weeks.", "sick.md"), prompt=(("ai", "Secret 25 [1]."), ("human", "In other words?")))
    chats.reply(ANN, chat, below, "Five weeks.", retold, ["hr"])
    last = chats.ask(ANN, chat, chats.branch(ANN, chat)[-1].id, "And sick leave?")
    chats.reply(ANN, chat, last, "Ten.", replace(answer("Ten.", "sick.md"), prompt=retold.prompt), ["hr"])
    chats.reply(ANN, chat, question, "Beside [1].", answer("Beside [1].", "sick.md"), ["hr"])
    other, _ = talk(chats, "Who knows?", "Nobody.")
    chats.amend(chats.branch(ANN, other)[1].id, "Nobody.", answer("Nobody.", "sick.md"))

    forgotten = chats.forget(Gone("hr", "sick.md"))
    assert (len(forgotten.answers), forgotten.conversations) == (3, 1)
    assert texts(chats, chat)[1] == "Beside [1]."
    assert texts(chats, other)[1] == "Nobody."
    assert chats.branch(ANN, other)[1].answer is not None
    chats.turn(ANN, chat, first, 0)
    shown = chats.branch(ANN, chat)
    assert [m.text for m in shown if m.role == "user"] == ["How many days?", "In other words?", "And sick leave?"]
    assert all("erased" in m.text and m.answer is None for m in shown if m.role == "assistant")
    assert b"Secret 25" not in stored(chats)
    assert b"Five weeks" not in stored(chats)
    assert chats.forget(Gone("hr", "sick.md")).answers == ()


@pytest.mark.parametrize("path", ["leave.md", "sick.md", ""])
def test_an_answer_that_was_cut_short_is_erased_by_the_passages_that_it_had(chats: Chats, path: str) -> None:
    chat, (question,) = talk(chats, "How many days?")
    reply = chats.reply(ANN, chat, question, "", None, ["hr"])
    if path:
        chats.found(reply, answer("", path).sources)
    chats.amend(reply, "Secret tw", None)
    assert len(chats.forget(Gone("hr", "sick.md")).answers) == (path != "sick.md")
    assert (b"Secret tw" in stored(chats)) == (path == "sick.md")
    assert chats.forget(Gone("it")).answers == ()


@pytest.mark.parametrize("path", ["leave.md", "sick.md", ""])
def test_an_answer_that_is_still_being_written_does_not_bring_back_what_was_erased(chats: Chats, path: str) -> None:
    chat, (question,) = talk(chats, "How many days?")
    reply = chats.reply(ANN, chat, question, "", None, ["hr"])
    if path:
        chats.found(reply, answer("", path).sources)
    assert chats.forget(Gone("hr", "sick.md")).answers == ()
    if path != "sick.md":
        chats.found(reply, answer("", path).sources)
    chats.amend(reply, "Secret tw", None)
    chats.amend(reply, "Secret twenty-five [1].", answer("Secret twenty-five [1].", path or "leave.md"))
    stays = path == "sick.md"  # of all that the answer rests on
    assert (b"Secret tw" in stored(chats)) == stays
    assert ("erased" in texts(chats, chat)[1]) != stays
    assert (chats.branch(ANN, chat)[1].answer is not None) == stays


def test_a_trace_forgets_what_was_found_in_documents_that_are_gone(chats: Chats) -> None:
    chat, (question,) = talk(chats, "How many days?")
    rows = tuple(Candidate(n, path, None, 0, (), 0.5) for n, path in enumerate(("sick.md", "leave.md")))
    queries = (Query("How many days?"), Query("Secret Name", "feedback"))
    given = replace(answer("Ten [1].", "sick.md"), trace=Trace(queries, rows))
    chats.reply(ANN, chat, question, "Ten [1].", given, ["hr"])
    assert chats.branch(ANN, chat)[1].answer == given
    forgotten = chats.forget(Gone("hr", "sick.md"))
    assert (forgotten.answers, forgotten.traces) == ((), 1)
    kept = chats.branch(ANN, chat)[1].answer
    assert kept is not None
    assert [row.path for row in kept.trace.candidates] == ["sick.md"]
    assert kept.text == "Ten [1]."
    assert b"Secret Name" not in stored(chats)
    assert b"leave.md" not in stored(chats)
    assert chats.forget(Gone("hr", "sick.md")).traces == 0


def test_of_several_knowledge_bases_the_trace_of_the_one_is_forgotten(chats: Chats) -> None:
    chat, (question,) = talk(chats, "How many days?")
    rows = tuple(Candidate(n, path, None, 0, (), 0.5) for n, path in enumerate(("hr/leave.md", "it/vpn.md")))
    trace = Trace(candidates=rows, stages=(("hr: dense", 1.0), ("it: dense", 1.0)))
    given = replace(answer("Ten.", "vpn.md", kb="it"), trace=trace)
    chats.reply(ANN, chat, question, "Ten.", given, ["hr", "it"])
    assert chats.forget(Gone("hr")).traces == 1
    kept = chats.branch(ANN, chat)[1].answer
    assert kept is not None
    assert [row.path for row in kept.trace.candidates] == ["it/vpn.md"]


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "chats.sqlite").write_bytes(b"this is no database at all, but long enough to be read as one" * 20)
    with pytest.raises(CatalogError, match=r"chats\.sqlite"):
        Chats(tmp_path).latest(ANN)


def test_what_rests_on_a_knowledge_base_that_may_not_be_seen_is_not_told_and_is_given_back(chats: Chats) -> None:
    chat, (_, reply) = talk(chats, "How many days?", "Secret 25 [1].")
    less = Reader("ann", ids("it"))
    shown = chats.branch(less, chat)[1]
    assert (shown.hidden, shown.text, shown.answer) == (True, "", None)
    assert chats.branch(less, chat)[0].text == "How many days?"
    told = chats.markdown(less, chat)
    assert "no longer see" in told
    assert "已无权" in told
    assert not any(word in told for word in ("Secret", "leave.md", "hr"))
    assert chats.latest(less, "secret") == []
    assert [found.id for found in chats.latest(less, "days")] == [chat]  # by its question
    assert chats.message(less, chat, reply) == (shown, "How many days?")
    follow = chats.ask(less, chat, reply, "And abroad?")
    assert chats.history(less, chat, follow) == ([], frozenset())
    assert chats.branch(ANN, chat)[1].answer == answer("Secret 25 [1].")
    assert [found.id for found in chats.latest(ANN, "secret")] == [chat]
    assert chats.history(ANN, chat, follow)[1] == {"hr"}


def test_an_answer_that_was_written_from_an_earlier_one_is_hidden_with_it(chats: Chats) -> None:
    chat, (_, reply) = talk(chats, "How many days?", "25 [1].")
    follow = chats.ask(ANN, chat, reply, "In other words?")
    _, rests_on = chats.history(ANN, chat, follow)
    chats.reply(ANN, chat, follow, "Five weeks [1].", answer("Five weeks [1].", kb="it"), rests_on | {"it"})
    assert [m.hidden for m in chats.branch(Reader("ann", ids("it")), chat)] == [False, True, False, True]
    assert [m.hidden for m in chats.branch(Reader("ann", ids("hr")), chat)] == [False, False, False, True]
    assert not any(m.hidden for m in chats.branch(ANN, chat))


def test_an_answer_that_was_cut_short_is_hidden_as_well(chats: Chats) -> None:
    chat, (question,) = talk(chats, "How many days?")
    chats.amend(chats.reply(ANN, chat, question, "", None, ["hr"]), "Secret tw", None)
    assert chats.branch(Reader("ann", {}), chat)[1].text == ""
    assert chats.branch(ANN, chat)[1].text == "Secret tw"


@settings(deadline=None, max_examples=25)
@given(
    rests=st.lists(st.sets(st.sampled_from(["hr", "it", "a'b", "年假"]), min_size=1), min_size=1, max_size=5),
    sees=st.sets(st.sampled_from(["hr", "it", "a'b", "年假"])),
)
def test_nobody_is_told_a_word_of_what_they_may_not_see(
    tmp_path_factory: pytest.TempPathFactory, rests: list[set[str]], sees: set[str]
) -> None:
    chats, reader, parent = Chats(tmp_path_factory.mktemp("chats")), Reader("ann", ids(*sees)), None
    chat = chats.begin(reader, ["hr"]).id
    for n, kbs in enumerate(rests):
        parent = chats.ask(reader, chat, parent, f"question{n}")
        parent = chats.reply(reader, chat, parent, f"word{n} [1].", answer(f"word{n} [1].", f"file{n}.md"), kbs)
    last = chats.ask(reader, chat, parent, "more")
    told = f"{chats.branch(reader, chat)}{chats.markdown(reader, chat)}{chats.history(reader, chat, last)}"
    for n, kbs in enumerate(rests):
        assert (
            (f"word{n} " in told) == (f"file{n}.md" in told) == bool(chats.latest(reader, f"word{n}")) == (kbs <= sees)
        )
    chats.close()


def test_an_account_that_is_removed_takes_its_conversations_along(chats: Chats) -> None:
    talk(chats, "Secret question?", "25.")
    kept, _ = talk(chats, "Other?", "Ten.", owner=BOB)
    assert chats.delete_all("ann") == 1
    assert (chats.latest(ANN), [chat.id for chat in chats.latest(BOB)]) == ([], [kept])
    assert b"Secret question" not in b"".join(file.read_bytes() for file in chats.file.parent.iterdir())


def test_threads_that_come_and_go_leave_nothing_behind(chats: Chats) -> None:
    chat, _ = talk(chats, "How many?", "25.")
    process = psutil.Process()
    before = process.num_fds()

    def look() -> None:
        assert len(chats.branch(ANN, chat)) == 2

    for _ in range(20):
        threads = [threading.Thread(target=look) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert process.num_fds() <= before + 12  # the few that are kept: three descriptors each


def test_a_conversation_that_was_read_is_not_parsed_again(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, _ = talk(chats, "How many?", "25.", "Really?", "Yes.")
    first = chats.branch(ANN, chat)
    monkeypatch.setattr("app.running.chats_answers.adapter", lambda _: pytest.fail("parsed again"))
    assert chats.branch(ANN, chat) == first
    assert [m.text for m in chats.outline(ANN, chat)] == [m.text for m in first]


def test_what_was_written_by_another_process_counts_at_once(chats: Chats, tmp_path: Path) -> None:
    chat, _ = talk(chats, "How many?", "25.")
    other = Chats(tmp_path)
    other.forget(Gone("hr"))
    assert "erased" in texts(chats, chat)[1]
    assert chats.branch(ANN, chat)[1].answer is None
    other.close()
    chats.file.rename(tmp_path / "aside")
    assert chats.latest(ANN) == []  # a new one was begun


def test_what_is_gone_leaves_the_trace_of_an_answer_that_rests_on_files_of_its_chat_too(chats: Chats) -> None:
    chat = chats.begin(ANN, ["hr"]).id
    question = chats.ask(ANN, chat, None, "How many days?")
    own = replace(answer("x").sources[0].hit, path="lease.md", kb=chat)
    said = answer("25 [1].")
    rows = tuple(Candidate(n, path, None, 0, (), 0.5) for n, path in enumerate(("leave.md", "gone.md")))
    said = replace(said, sources=(*said.sources, Source(2, own, "eleven")), trace=Trace((Query("days"),), rows))
    chats.reply(ANN, chat, question, said.text, said, ["hr"])
    assert chats.forget(Gone("hr", "leave.md")).traces == 1
    after = chats.branch(ANN, chat)[1].answer
    assert after
    assert [row.path for row in after.trace.candidates] == ["leave.md"]
    assert [source.hit.path for source in after.sources] == ["leave.md", "lease.md"]
