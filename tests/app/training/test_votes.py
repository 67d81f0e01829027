from pathlib import Path
from typing import Any

import pytest

from app.answering.answer import NO_ANSWER, NOT_COVERED
from app.answering.plan import request
from app.training.votes import (
    Vote,
    add_vote,
    as_served,
    forget,
    learnt,
    quoted_files,
    rated,
    read_votes,
    sent,
    votes_file,
)
from core.config import Config
from core.errors import CatalogError, DatasetError
from core.types import Turn
from llm.examples import Message, read_ratings, write_rows

SOURCES = (
    '<source n="1" path="a.md" heading="A">\nLeave is 25 days.\n</source>\n'
    '<source n="2" path="b \'c.md" heading="">\n…\n</source>'
)
ASKED = (Message(role="system", content=f"Rules.\n\n{SOURCES}"), Message(role="user", content="How long is leave?"))


def vote(id: str, answer: str = "25 days [1].", kind: str = "up", **more: Any) -> Vote:
    row = {"id": id, "time": f"2026-01-01T00:00:0{id[-1]}", "question": "How long is leave?", "prompt": ASKED}
    return Vote.model_validate(row | {"answer": answer, "vote": kind, "file": "a.md", "model": "m"} | more)


def test_votes_are_read_back_as_they_were_given(tmp_path: Path) -> None:
    file = votes_file(tmp_path, "kb")
    assert file == tmp_path / "kb" / "votes.jsonl"
    assert read_votes(file) == []
    given = [vote("v1"), vote("v2", "三十天[1]。", "down", correction="二十五天[1]。", reason="wrong")]
    for one in given:
        add_vote(file, one)
    assert read_votes(file) == given
    add_vote(file, vote("v1", kind="down"))  # thought better of it
    assert [(v.id, v.vote) for v in read_votes(file)] == [("v1", "down"), ("v2", "down")]
    with pytest.raises(CatalogError):
        votes_file(tmp_path, "../kb")


def test_a_vote_torn_at_any_byte_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    add_vote(file, vote("v1"))
    first = file.read_bytes()
    torn = vote("v2", "二十五天[1]。").model_dump_json().encode()
    for length in range(1, len(torn)):
        file.write_bytes(first + torn[:length])
        assert [v.id for v in read_votes(file)] == ["v1"]
        add_vote(file, vote("v3"))
        assert [v.id for v in read_votes(file)] == ["v1", "v3"], length
    file.write_bytes(first + torn)  # whole but for the end of the line
    add_vote(file, vote("v3"))
    assert [v.id for v in read_votes(file)] == ["v1", "v2", "v3"]


def test_votes_that_quote_a_file_that_is_gone_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    other = Message(role="system", content='<source n="1" path="a.md" heading="">\nx\n</source>')
    for one in (vote("v1"), vote("v2", prompt=(other, ASKED[1]))):
        add_vote(file, one)
    assert forget(file, {"a.md", 'b "c.md'}) == []  # as a path stands in a prompt
    assert forget(file, {"a.md"}) == ["v1"]
    assert [v.id for v in read_votes(file)] == ["v2"]
    assert forget(tmp_path / "none.jsonl", set()) == []


def test_votes_on_answers_that_were_erased_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    for one in (vote("v1"), vote("v2"), vote("v3")):
        add_vote(file, one)
    assert forget(file, {"a.md", 'b "c.md'}, {"v2", "v9"}) == ["v2"]
    assert forget(file, None, {"v3"}) == ["v3"]
    assert [kept.id for kept in read_votes(file)] == ["v1"]


def test_a_line_that_is_whole_and_no_vote_is_named(tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    add_vote(file, vote("v1"))
    file.write_bytes(file.read_bytes() + b'{"id": "v2"}\n')
    with pytest.raises(DatasetError, match=r"votes\.jsonl:2: time: Field required"):
        read_votes(file)
    file.write_text(vote("v1").model_dump_json().replace('"up"', '"sideways"') + "\n")
    with pytest.raises(DatasetError, match=r"votes\.jsonl:1: vote: Input should be 'up' or 'down'"):
        read_votes(file)


def test_a_vote_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        add_vote(tmp_path / "file" / "votes.jsonl", vote("v1"))


def test_an_up_vote_teaches_the_answer() -> None:
    examples, preferences, left = learnt([vote("v1")])
    assert [(e.id, e.prompt, e.answer, e.file, e.kind, e.origin) for e in examples] == [
        ("v1", ASKED, "25 days [1].", "a.md", "answer", "vote")
    ]
    assert (preferences, left) == ([], {})


def test_what_a_reader_is_told_where_nothing_was_found_is_learnt_as_the_refusal() -> None:
    for shown in NOT_COVERED.values():
        (example,), _, _ = learnt([vote("v1", shown)])
        assert (example.answer, example.kind) == (NO_ANSWER, "refusal")


def test_a_correction_is_an_example_and_preferred_to_the_answer() -> None:
    (example,), (pair,), _ = learnt([vote("v1", "30 days [1].", "down", correction="25 days [1][7].")])
    assert example.answer == "25 days [1]."  # the prompt has no seventh source
    assert (pair.prompt, pair.chosen[0].content, pair.rejected[0].content) == (ASKED, "25 days [1].", "30 days [1].")
    assert example.id != pair.id
    _, pairs, _ = learnt([vote("v1", correction="25 days [1].")])
    assert pairs == []  # nothing was changed


def test_an_up_and_a_down_vote_on_one_prompt_are_a_preference() -> None:
    votes = [vote("v1"), vote("v2", "No idea.", "down"), vote("v3", "25 days [1].")]
    examples, (pair,), left = learnt(votes)
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("25 days [1].", "No idea.")
    assert len(examples) == 1
    assert not left
    other = (*ASKED[:1], Message(role="user", content="And sick leave?"))
    examples, pairs, left = learnt([vote("v1"), vote("v2", "No idea.", "down", prompt=other)])
    assert (len(examples), pairs, sum(left.values())) == (1, [], 1)


def test_an_answer_that_some_like_and_others_do_not_teaches_nothing() -> None:
    examples, pairs, left = learnt([vote("v1"), vote("v2", kind="down")])
    assert (examples, pairs) == ([], [])
    assert left == {"liked by one, disliked by another": 2}


def test_each_vote_rates_its_answer_and_a_correction_both(tmp_path: Path) -> None:
    votes = [vote("v1"), vote("v2", "No idea.", "down"), vote("v3", "30 days [1].", correction="25 days [1][7].")]
    found = {(rating.completion[0].content, rating.label) for rating in rated(votes)}
    assert found == {("25 days [1].", True), ("No idea.", False), ("30 days [1].", False)}
    assert len({rating.id for rating in rated(votes)}) == 3
    assert {rating.prompt for rating in rated(votes)} == {ASKED}
    assert rated([vote("v1"), vote("v2", kind="down")]) == []  # disputed
    write_rows(tmp_path / "ratings.jsonl", rated(votes))
    assert read_ratings(tmp_path / "ratings.jsonl") == rated(votes)


def test_a_prompt_of_another_version_is_put_into_the_present_one(cfg: Config) -> None:
    history = [Turn("user", "Hi"), Turn("assistant", "Hello.")]
    now = sent(request(cfg, "How long is leave?", SOURCES, history))
    assert [message.role for message in now] == ["system", "user", "assistant", "user"]
    assert as_served(cfg, now) == now
    before = (Message(role="system", content=f"Other rules.\n{SOURCES}\nMore rules."), *now[1:])
    assert as_served(cfg, before) == now
    bare = (Message(role="user", content="Hi"),)
    assert as_served(cfg, bare) == bare


def test_the_files_of_a_prompt_are_read_from_it() -> None:
    assert quoted_files(ASKED) == {"a.md", "b 'c.md"}
