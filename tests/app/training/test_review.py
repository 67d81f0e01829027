from pathlib import Path

import pytest

from app.training.review import review, sheet
from core.errors import DatasetError
from llm.examples import Example, Message, Preference, Rating, read_examples, read_preferences, read_ratings, write_rows

SYSTEM = '<source n="1" path="a.md" heading="">\nHotels are paid. Leave is 25 days.\n</source>'


def example(id: str, answer: str = "Leave is 25 days [1].") -> Example:
    said = (("system", SYSTEM), ("user", f"How long\nis leave, {id}?"), ("assistant", answer))
    messages = tuple(Message.model_validate({"role": role, "content": content}) for role, content in said)
    return Example(id=id, messages=messages, file="a.md", origin="golden", status="draft")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of drafts."""
    examples = {
        "train": [example("e1"), example("e2", "- one [1]\n\n    - [x] two [1]\n## three [1]")],
        "test": [example("e3")],
    }
    better, worse = Message(role="assistant", content="25 [1]."), Message(role="assistant", content="30 [1].")
    pair = Preference(
        id="p1", prompt=example("e1").prompt, chosen=(better,), rejected=(worse,), origin="vote", status="draft"
    )
    folder = tmp_path / "set"
    folder.mkdir()
    for side, rows in examples.items():
        write_rows(folder / f"{side}.jsonl", rows)
    rating = Rating(id="r1", prompt=pair.prompt, completion=(worse,), label=False, origin="vote", status="draft")
    write_rows(folder / "preferences-train.jsonl", [pair])
    write_rows(folder / "ratings-train.jsonl", [rating])
    (folder / "questions.jsonl").write_text("{}\n")
    (folder / "review.md").write_text(sheet("set", examples, {"train": [pair]}, {"train": [rating]}), "utf-8")
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "review.md").read_text("utf-8")
    assert text.count(old) == 1
    (folder / "review.md").write_text(text.replace(old, new), "utf-8")


def statuses(folder: Path) -> dict[str, str]:
    rows = [*read_examples(folder / "train.jsonl"), *read_examples(folder / "test.jsonl")]
    return {row.id: row.status for row in (*rows, *read_preferences(folder / "preferences-train.jsonl"))} | {
        row.id: row.status for row in read_ratings(folder / "ratings-train.jsonl")
    }


def test_the_sheet_shows_what_an_answer_rests_on(folder: Path) -> None:
    text = (folder / "review.md").read_text("utf-8")
    assert "- [ ] `e1` answer, golden, a.md\n  - Question: How long is leave, e1?\n" in text
    assert "  - [1] a.md: Leave is 25 days.\n  - Answer:\n\n    Leave is 25 days [1].\n" in text
    assert "- [ ] `p1` preference, vote\n" in text
    assert "- [ ] `r1` found bad, vote\n  - Question: How long is leave, e1?\n  - Rated:\n\n    30 [1].\n" in text


def test_a_sheet_that_was_not_touched_changes_nothing(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(review(folder)) == 5
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_boxes_decide_and_answers_can_be_corrected(folder: Path) -> None:
    edit(folder, "- [ ] `e1`", "- [x] `e1`")
    edit(folder, "- [ ] `e2`", "- [-] `e2`")
    edit(folder, "- [ ] `p1`", "- [X] `p1`")
    text = (folder / "review.md").read_text("utf-8")
    (folder / "review.md").write_text(text.replace("    Leave is 25", "    It is 25", 1), "utf-8")
    review(folder)
    assert statuses(folder) == {"e1": "approved", "e2": "rejected", "e3": "draft", "p1": "approved", "r1": "draft"}
    first, second = read_examples(folder / "train.jsonl")
    assert first.answer == "It is 25 days [1]."
    assert second.answer == example("e2", "- one [1]\n\n    - [x] two [1]\n## three [1]").answer
    assert "- [x] `e1`" in (folder / "review.md").read_text("utf-8")


def test_rows_are_approved_and_rejected_by_id_and_the_rest_at_once(folder: Path) -> None:
    review(folder, ["e1", "p1"], ["e2"])
    assert statuses(folder) == {"e1": "approved", "e2": "rejected", "e3": "draft", "p1": "approved", "r1": "draft"}
    review(folder, rest="approved")
    assert statuses(folder) == {
        "e1": "approved",
        "e2": "rejected",
        "e3": "approved",
        "p1": "approved",
        "r1": "approved",
    }
    (folder / "review.md").unlink()
    review(folder, reject=["e1"])
    assert statuses(folder)["e1"] == "rejected"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("- [ ] `e1`", "- [?] `e1`", r"review\.md:8: .* is no row"),
        ("- [ ] `e1`", "- [x] `e9`", r"review\.md:8: .* is no row"),
        ("- [ ] `e1`", "- [] `e1`", r"review\.md:8: .* is no row"),
        ("    - one [1]\n\n        - [x] two [1]\n    ## three [1]", "", "the answer of e2 is empty"),
    ],
)
def test_a_verdict_that_cannot_be_meant_changes_nothing(folder: Path, old: str, new: str, what: str) -> None:
    edit(folder, old, new)
    with pytest.raises(DatasetError, match=what):
        review(folder, ["e3"])
    assert set(statuses(folder).values()) == {"draft"}


def test_an_id_or_a_data_set_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no row e9"):
        review(folder, ["e9"])
    with pytest.raises(DatasetError, match="there is no data set"):
        review(tmp_path / "absent")
