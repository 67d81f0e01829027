"""What was read wrongly is replaced where it stands, whatever the rest of the document has become."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.types import Correction, Document, Section
from ingest.correct import corrected, correction

LINES = st.lists(st.text("ab ", max_size=4), max_size=6).map("\n".join)


def whole(text: str, *ends: int) -> Document:
    """A document with sections that end there, and at its own end."""
    starts = [0, *ends]
    return Document(text, sections=tuple(Section(a, b) for a, b in zip(starts, [*ends, len(text)], strict=True)))


@given(st.text("xy\n", max_size=9), LINES, LINES, st.text("xy\n", max_size=9))
@example("\n", "\n\n", "", "")
def test_a_passage_says_what_it_was_corrected_to_and_the_rest_as_before(
    before: str, was: str, now: str, after: str
) -> None:
    made = correction(was, now)
    assume(was and made is not None)
    assert made
    text = before + was + after
    told_by = made.before + made.was
    assume(text.find(told_by) == text.rfind(told_by))  # places may overlap
    document = corrected(whole(text, len(before), len(before) + len(was)), [made])
    assert document.text == before + now + after
    spans = [(section.start, section.end) for section in document.sections]
    assert spans == [(0, len(before)), (len(before), len(before + now)), (len(before + now), len(document.text))]
    assert document.notes == ("corrected by hand: 1",)


def test_nothing_is_corrected_where_nothing_was_changed() -> None:
    assert correction("same", "same") is None


def test_of_the_same_words_in_several_places_those_are_corrected_that_were_meant() -> None:
    rows = [f"| {n} | Müller |\n" for n in range(40)]
    was = "".join(rows)
    made = correction(was, was.replace("| 31 | Müller", "| 31 | Möller"))
    assert made
    document = corrected(whole("# Names\n\n" + was), [made])
    assert document.text.count("Möller") == 1
    assert "| 31 | Möller" in document.text


def test_a_correction_finds_its_place_when_what_stands_before_it_changed_and_is_told_when_it_has_none() -> None:
    made = Correction("Page one\n", "The lcave is 25 days.", "The leave is 25 days.")
    moved = corrected(whole("Another page\nThe lcave is 25 days. Then more."), [made])
    assert moved.text == "Another page\nThe leave is 25 days. Then more."
    gone = corrected(whole("All is new."), [made])
    assert (gone.text, gone.notes) == (
        "All is new.",
        ("a correction no longer fits what is read: 'The lcave is 25 days.'",),
    )
    twice = corrected(whole("The lcave is 25 days. The lcave is 25 days."), [made])
    assert "leave" not in twice.text


def test_a_correction_over_the_border_of_two_sections_leaves_each_its_own() -> None:
    document = corrected(whole("one two\nthree four", 8), [Correction("", "two\nthree", "2 3!")])
    assert document.text == "one 2 3! four"
    assert [document.text[s.start : s.end] for s in document.sections] == ["one 2 3!", " four"]
