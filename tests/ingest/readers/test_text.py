"""Cleaning, joining parts, plain text and subtitles."""

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from ingest.read import read_bytes
from ingest.readers import text as text_reader
from ingest.readers.captions import read_captions
from ingest.readers.text import (
    Part,
    assemble,
    clean,
    collapse,
    date_of,
    descend,
    meaningful,
    names,
    read_text,
    tags_of,
)

CFG = IngestConfig()


def test_line_ends_become_one_kind() -> None:
    assert clean("a\r\nb\rc\u2028d\x0ce\x85f") == "a\nb\nc\nd\ne\nf"


def test_control_and_invisible_characters_are_dropped() -> None:
    assert clean("a\0b\x07c\ud800d\u200be\xadf\u202eg\ufeffh\U000e0041i\tj") == "abcdefghi\tj"


def test_joiners_that_carry_meaning_stay() -> None:
    assert clean("👩\u200d💻 می\u200cخواهم") == "👩\u200d💻 می\u200cخواهم"


def test_kangxi_radicals_become_the_characters() -> None:
    assert clean("⽣⽤⽂⺠⻓") == "生用文民长"


def test_full_width_text_is_left_as_it_is() -> None:
    assert clean("ＡＢＣ１２３，。") == "ＡＢＣ１２３，。"


@given(st.text())
def test_clean_text_has_no_control_character_and_cleaning_again_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
    assert clean(cleaned) == cleaned


@given(st.lists(st.builds(Part, st.text(alphabet="ab \n\r\t\0年。"), st.just(("h",)), st.integers(1, 3))))
def test_sections_are_in_order_and_cover_every_character_that_is_not_white_space(parts: list[Part]) -> None:
    document = assemble(parts)
    end = 0
    for section in document.sections:
        assert end <= section.start < section.end <= len(document.text)
        assert not document.text[end : section.start].strip()
        end = section.end
    assert not document.text[end:].strip()
    assert "".join(document.text.split()) == "".join("".join(clean(part.text) for part in parts).split())


def test_a_deeper_heading_goes_below_and_an_equal_one_replaces() -> None:
    path = descend(descend((), 1, "A"), 3, "B")
    assert names(path) == ("A", "B")
    assert names(descend(path, 2, "C")) == ("A", "C")
    assert names(descend(path, 1, "D")) == ("D",)


@pytest.mark.parametrize(
    "title",
    [
        "Microsoft Word - x.doc",
        "untitled",
        "Untitled document",
        "report_final.pdf",
        "PowerPoint Presentation",
        "文档1",
        "演示文稿1",
        "无标题",
        "",
        "  ",
        "2024",
        "---",
    ],
)
def test_filler_titles_count_for_nothing(title: str) -> None:
    assert meaningful(title) == ""


def test_a_real_title_is_kept_on_one_line() -> None:
    assert meaningful(" Annual\n Report 2024 ") == "Annual Report 2024"


def test_a_line_break_between_chinese_characters_is_no_space() -> None:
    assert collapse("年假\n五天 and\nmore") == "年假五天 and more"


def test_plain_text_is_one_section_with_a_lone_first_line_as_title() -> None:
    document = read_text("差旅制度\n\n第一条 住宿费每晚不超过 450 元。\n".encode("gbk"), CFG)
    assert (document.title, document.encoding) == ("差旅制度", "gb18030")
    assert document.text[document.sections[0].start : document.sections[0].end].strip() == document.text.strip()


@pytest.mark.parametrize(
    "text", ["One line only", "A sentence ends here.\n\nMore.", "two\nlines\n\nmore", "-----\n\nmore"]
)
def test_text_without_a_line_that_stands_alone_has_no_title(text: str) -> None:
    assert read_text(text.encode(), CFG).title == ""


def test_terminal_colours_of_logs_are_dropped() -> None:
    assert read_text(b"\x1b[31mERROR\x1b[0m disk full", CFG).text == "ERROR disk full"


@pytest.mark.parametrize(
    "source",
    [
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000 A:end\nThe <c.x>quick</c> fox\n\n"
        "00:03.000 --> 00:04.000\nruns <i>away</i>",
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nThe quick fox\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\nruns away\r\n",
    ],
)
def test_subtitles_read_as_running_text(source: str) -> None:
    assert read_captions(source.encode(), CFG).text == "The quick fox\nruns away"


def test_the_worked_values_in_the_docstrings_hold() -> None:
    assert doctest.testmod(text_reader).failed == 0


def test_tags_are_cleaned_and_the_first_of_two_that_differ_in_case_stays() -> None:
    assert tags_of([" an\nnual\0 leave ", "#HR", "hr", "", " # ", "x" * 101, "C#"]) == ("an nual leave", "HR", "C#")


def test_no_more_than_64_tags_are_kept() -> None:
    assert tags_of(f"tag {n}" for n in range(10**9)) == tuple(f"tag {n}" for n in range(64))


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-15T23:59:59+08:00", "2024-03-15"),
        ("2024/3/5", "2024-03-05"),
        ("2024年3月5日", "2024-03-05"),
        ("20240315", "2024-03-15"),
        ("D:20240315103000+08'00'", "2024-03-15"),
        ("Fri, 15 Mar 2024 23:30:00 -0800", "2024-03-15"),
        ("March 5, 2024", "2024-03-05"),
        ("2025-07", "2025-07"),
        ("1900", "1900"),
        ("2100-12-31", "2100-12-31"),
    ],
)
def test_dates_are_read_to_the_precision_given(text: str, day: str) -> None:
    assert date_of(text) == day


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "03/04/2024", "2024-13", "2023-02-29", "1899-12-30", "2101", "1601-01-01T00:00:00Z", "1710460800",
     "1970-01-01T00:00:00Z", "1980-01-01", "D:19691231160000-08'00'"],
)  # fmt: skip
def test_what_is_no_plausible_date_is_none(text: str) -> None:
    assert date_of(text) == ""


@given(st.text(alphabet="0123456789-/: ,+年月日TZDJanFebMon\0٣"))
def test_any_text_gives_a_date_or_nothing(text: str) -> None:
    assert len(date_of(text)) in (0, 4, 7, 10)


TAGS = "".join(chr(0xE0000 + ord(c)) for c in "MARKER")
SELECTORS = "\ufe01\U000e0105\U000e0110"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".csv", ".py", ".eml"])
def test_characters_that_have_no_shape_are_left_out_and_counted(suffix: str) -> None:
    head = "From: a@b.example\nSubject: x\n\n" if suffix == ".eml" else ""
    document = read_bytes(
        f"x{suffix}", f"{head}Leave is{TAGS} 25 days{SELECTORS} \u2764\ufe0f.".encode(), IngestConfig()
    )
    assert "Leave is 25 days \u2764\ufe0f." in document.text
    assert document.notes == ("9 characters that nobody sees were left out: they have no shape",)


def test_a_flag_is_no_hidden_text() -> None:
    flag = "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in "gbeng") + "\U000e007f"
    assert read_bytes("x.txt", f"Flag {flag} here".encode(), IngestConfig()).notes == ()
