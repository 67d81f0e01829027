"""Conversations as they are kept: branches, search, owners, export, and what is erased with a document."""

from pathlib import Path

import pytest

from app.running.chats import Chats
from core.errors import AccessError, CatalogError
from core.types import Answer, Citation, Hit, Source, Trace, Turn


@pytest.fixture
def chats(tmp_path: Path) -> Chats:
    return Chats(tmp_path)


def answer(text: str, path: str = "leave.md", kb: str = "hr") -> Answer:
    hit = Hit(1, 0.9, 7, "/docs", path, "Leave", 3, ("Leave",), 0, 8, "25 days.", "en", 0, 4, kb=kb)
    return Answer(
        text, True, (Citation(1, path, 3, "25 days."),), (Source(1, hit, "25 days."),), "openai", "m", "leave?", 0.5,
        ("a note",), Trace(), (("system", "Use 25 days."), ("human", "leave?")), (("find", 1.5),),
    )  # fmt: skip


def talk(chats: Chats, *said: str, owner: str = "ann") -> tuple[str, list[int]]:
    """A conversation of question, answer, question, ...; its id and those of its messages."""
    chat, ids = chats.begin(owner, ["hr"]), []
    for n, text in enumerate(said):
        parent = ids[-1] if ids else None
        ids.append(
            chats.ask(owner, chat.id, parent, text)
            if n % 2 == 0
            else chats.reply(owner, chat.id, ids[-1], text, answer(text))
        )
    return chat.id, ids


def texts(chats: Chats, chat: str, owner: str = "ann") -> list[str]:
    return [message.text for message in chats.branch(owner, chat)]


def test_what_was_said_is_there_after_a_restart_with_all_that_it_rests_on(chats: Chats, tmp_path: Path) -> None:
    chat, _ = talk(chats, "How many days?", "25 [1].")
    question, reply = Chats(tmp_path).branch("ann", chat)
    assert (question.role, question.text, question.answer) == ("user", "How many days?", None)
    assert reply.answer == answer("25 [1].")
    assert Chats(tmp_path).get("ann", chat).title == "How many days?"


def test_an_edited_question_and_a_repeated_answer_are_branches_beside_the_old_ones(chats: Chats) -> None:
    chat, (first, reply) = talk(chats, "Days of leave?", "25.")
    again = chats.reply("ann", chat, first, "Twenty-five.", None)
    assert texts(chats, chat) == ["Days of leave?", "Twenty-five."]
    assert [(m.place, m.siblings) for m in chats.branch("ann", chat)] == [(1, 1), (2, 2)]
    other = chats.ask("ann", chat, None, "Days of sick leave?")
    chats.reply("ann", chat, other, "Ten.", None)
    assert texts(chats, chat) == ["Days of sick leave?", "Ten."]

    chats.turn("ann", chat, other, -1)  # the newest branch below the first question
    assert texts(chats, chat) == ["Days of leave?", "Twenty-five."]
    chats.turn("ann", chat, again, -1)
    assert texts(chats, chat) == ["Days of leave?", "25."]
    chats.turn("ann", chat, reply, -1)  # there is none before it
    assert texts(chats, chat) == ["Days of leave?", "25."]
    follow = chats.ask("ann", chat, reply, "And abroad?")
    assert chats.history("ann", chat, follow) == [Turn("user", "Days of leave?"), Turn("assistant", "25.")]


def test_an_answer_grows_until_it_is_complete(chats: Chats) -> None:
    chat, (question,) = talk(chats, "How many?")
    reply = chats.reply("ann", chat, question, "", None)
    chats.amend(reply, "25", None)
    assert [(m.text, m.answer) for m in chats.branch("ann", chat)][1] == ("25", None)
    chats.amend(reply, "25 [1].", answer("25 [1]."))
    assert chats.branch("ann", chat)[1].answer == answer("25 [1].")


def test_conversations_are_found_by_their_words_newest_first(chats: Chats) -> None:
    first, _ = talk(chats, "年假有几天？", "二十五天。")
    second, ids = talk(chats, "VPN address?", "vpn.example")
    chats.begin("ann", ["hr"])  # in which nothing was said
    assert [chat.id for chat in chats.latest("ann")] == [second, first]
    assert [chat.id for chat in chats.latest("ann", "二十五")] == [first]
    assert [chat.id for chat in chats.latest("ann", "vpn EXAMPLE")] == [second]
    assert chats.latest("ann", "100%_") == []
    chats.rename("ann", first, " Leave \n and more ")
    assert [chat.title for chat in chats.latest("ann", "and more")] == ["Leave and more"]
    chats.ask("ann", second, ids[-1], "x")
    chats.delete("ann", second)
    assert [chat.id for chat in chats.latest("ann")] == [first]
    assert b"vpn.example" not in b"".join(p.read_bytes() for p in chats.file.parent.glob("chats.sqlite"))


def test_a_conversation_is_its_owners_alone(chats: Chats) -> None:
    chat, (question, reply) = talk(chats, "How many?", "25.")
    mine, _ = talk(chats, "What?", owner="bob")
    assert [c.id for c in chats.latest("bob")] == [mine]
    for attempt in (
        lambda: chats.get("bob", chat),
        lambda: chats.branch("bob", chat),
        lambda: chats.markdown("bob", chat),
        lambda: chats.delete("bob", chat),
        lambda: chats.rename("bob", chat, "x"),
        lambda: chats.ask("bob", chat, None, "x"),
        lambda: chats.turn("bob", chat, question, 1),
        lambda: chats.vote("bob", chat, reply, "up"),
        lambda: chats.ask("bob", mine, reply, "behind a message of another conversation"),
    ):
        with pytest.raises(AccessError):
            attempt()
    assert texts(chats, chat) == ["How many?", "25."]


def test_votes_and_what_a_conversation_asks_are_kept(chats: Chats) -> None:
    chat, (_, reply) = talk(chats, "How many?", "25.")
    chats.vote("ann", chat, reply, "down")
    chats.settle("ann", chat, ["it", "hr"], True)
    assert chats.branch("ann", chat)[1].vote == "down"
    assert (chats.get("ann", chat).bases, chats.get("ann", chat).open_mode) == (("it", "hr"), True)


def test_a_conversation_leaves_as_markdown_with_its_citations(chats: Chats) -> None:
    chat, _ = talk(chats, "How many days?\nReally?", "25 [1].")
    lines = chats.markdown("ann", chat).splitlines()
    assert lines[0] == "# How many days? Really?"
    assert lines[4:] == ["> How many days?", "> Really?", "", "25 [1].", "", "- [1] `leave.md`, p. 3: 25 days."]


def test_answers_that_rest_on_a_deleted_document_are_erased(chats: Chats) -> None:
    chat, (question, _) = talk(chats, "How many days?", "Secret 25 [1].")
    kept = chats.reply("ann", chat, question, "Ten [1].", answer("Ten [1].", "sick.md"))
    elsewhere, _ = talk(chats, "Other?", "Also secret.")
    chats.amend(chats.branch("ann", elsewhere)[1].id, "Also.", answer("Also.", kb="it"))
    assert chats.forget("hr", ["sick.md"]) == 1
    assert chats.branch("ann", chat)[1].text == "Ten [1]."
    chats.turn("ann", chat, kept, -1)
    assert "erased" in texts(chats, chat)[1]
    assert texts(chats, elsewhere)[1] == "Also."
    assert b"Secret 25" not in b"".join(p.read_bytes() for p in chats.file.parent.iterdir())


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "chats.sqlite").write_bytes(b"this is no database at all, but long enough to be read as one" * 20)
    with pytest.raises(CatalogError, match=r"chats\.sqlite"):
        Chats(tmp_path).latest("ann")
