import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import IngestConfig
from core.types import Chunk, Document, Section
from ingest.split import says_nothing, split
from retrieval.embed import Embedder


def words(text: str) -> int:
    """A simple token count: runs of letters and digits, and every other character but some that tokenizers drop."""
    return len(re.findall("[A-Za-z0-9]+|[^\\sA-Za-z0-9\ufeff\ufffd]", text))


def document(text: str, *sections: Section) -> Document:
    return Document(text, "", sections or (Section(0, len(text)),))


def cut(text: str, size: int = 40, overlap: int = 0) -> list[Chunk]:
    return split(document(text), IngestConfig(chunk_tokens=size, chunk_overlap=overlap), words)


ALPHABET = st.text(st.sampled_from(list("abc XYZ。！？.,，；\n\n\t 字词句12😀\ufeff\ufffd")), max_size=800)


@settings(max_examples=60, deadline=None)
@given(ALPHABET)
def test_chunks_are_slices_that_cover_every_visible_character(text: str) -> None:
    position = 0
    for number, chunk in enumerate(cut(text)):
        assert (chunk.ordinal, text[chunk.start : chunk.end]) == (number, chunk.text)
        assert chunk.text == chunk.text.strip()
        assert not text[position : chunk.start].strip()
        position = chunk.end
    assert not text[position:].strip()


@settings(max_examples=40, deadline=None)
@given(ALPHABET)
def test_no_chunk_is_larger_than_asked(text: str) -> None:
    assert all(chunk.tokens <= 40 and chunk.tokens == words(chunk.text) for chunk in cut(text))


def test_chinese_is_cut_at_its_sentence_ends() -> None:
    text = "员工每年享有带薪年假。工龄满五年的，年假增加五天！病假需要提供医院证明吗？需要；第三天起必须提供。" * 4
    assert all(chunk.text[-1] in "。！？；" for chunk in cut(text, 60))


def test_pieces_of_a_long_section_are_of_even_size() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(41))
    sizes = [chunk.tokens for chunk in cut(text, 100)]
    assert len(sizes) >= 3
    assert min(sizes) > 0.6 * max(sizes)


def test_overlap_repeats_whole_sentences() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(40))
    plain, lapped = cut(text, 60), cut(text, 60, 15)
    assert [c.end for c in plain] == [c.end for c in lapped]
    for before, chunk in pairwise(lapped):
        assert chunk.start < before.end
        assert chunk.text.startswith("Sentence number")
        assert text[chunk.start : chunk.end] == chunk.text


def test_a_chunk_keeps_the_page_and_headings_of_its_section() -> None:
    first, second = "Alpha beta gamma. " * 20, "Delta epsilon. " * 20
    sections = (Section(0, len(first), ("A",), 1), Section(len(first), len(first + second), ("A", "B"), 2))
    chunks = split(document(first + second, *sections), IngestConfig(chunk_tokens=30), words)
    assert {(c.page, c.headings) for c in chunks} == {(1, ("A",)), (2, ("A", "B"))}
    assert all(("Alpha" in c.text) == (c.page == 1) for c in chunks)


def test_small_sections_of_a_page_are_read_together_and_keep_their_common_path() -> None:
    parts = ["# Guide\n\n", "## One\n\nShort.\n\n", "## Two\n\nShort too.\n\n", "## Three\n\nAlso short.\n\n"]
    paths = [("Guide",), ("Guide", "One"), ("Guide", "Two"), ("Guide", "Three")]
    starts = [len("".join(parts[:i])) for i in range(4)]
    sections = [Section(s, s + len(p), h) for s, p, h in zip(starts, parts, paths, strict=True)]
    text = "".join(parts)
    (only,) = split(document(text, *sections), IngestConfig(chunk_tokens=100), words)
    assert (only.text, only.headings) == (text.strip(), ("Guide",))
    paged = [replace(section, page=i) for i, section in enumerate(sections)]
    assert len(split(document(text, *paged), IngestConfig(chunk_tokens=100), words)) == 4


def test_a_heading_alone_is_read_with_what_follows_it() -> None:
    text = "# Leave\n## Annual\nTwenty-five days."
    sections = (Section(0, 8, ("Leave",)), Section(8, len(text), ("Leave", "Annual")))
    (only,) = split(document(text, *sections), IngestConfig(chunk_tokens=100), words)
    assert only.headings == ("Leave", "Annual")


@pytest.mark.parametrize("text", ["x" * 30_000, "字" * 5_000, "a,b;" * 3_000, "word " * 5_000])
def test_runs_without_sentences_are_cut_too(embedder: Embedder, text: str) -> None:
    chunks = split(document(text), IngestConfig(chunk_overlap=0), embedder.size)
    assert "".join(c.text for c in chunks).replace(" ", "") == text.replace(" ", "")
    assert max(c.tokens for c in chunks) <= 200


@pytest.mark.parametrize("text", ["", "  \n\t ", "\n\n\n"])
def test_nothing_gives_nothing(text: str) -> None:
    assert cut(text) == []


def test_each_chunk_has_its_own_language() -> None:
    text = "This sentence is English. " * 8 + "\n\n" + "这一句是中文的内容。" * 8
    assert {c.language for c in cut(text, 45)} == {"en", "zh"}


@pytest.mark.parametrize("lead", range(30, 50))
def test_a_line_of_which_a_tokenizer_sees_nothing_is_not_repeated(lead: int) -> None:
    text = "a. " * lead + "\n\ufffd\ufffd\n" + "b. " * 60
    assert "".join("".join(chunk.text for chunk in cut(text)).split()) == "".join(text.split())


def test_a_part_of_an_article_keeps_its_number() -> None:
    articles = [f"第{n}条 " + "承租人应当按时支付租金，逾期的按日计算违约金。" * 6 for n in "四五"]
    chunks = split(document("\n".join(articles)), IngestConfig(chunk_tokens=60, chunk_overlap=0), words)
    for chunk in chunks:
        number = "第四条" if chunk.end <= len(articles[0]) else "第五条"
        assert number in chunk.text or number in chunk.headings


@pytest.mark.parametrize("more", ["", "\n  with its copies"])
@pytest.mark.parametrize(
    "lead", ["The following must be handed in:", "The office asks for", "有下列情形之一的，不予办理"]
)
def test_a_part_of_a_list_keeps_what_leads_into_it(lead: str, more: str) -> None:
    text = lead + "\n" + "\n".join(f"- paper number {i} of the office in the town hall{more}" for i in range(20))
    chunks = split(document(text), IngestConfig(chunk_tokens=50, chunk_overlap=0), words)
    assert len(chunks) > 3
    assert all(lead in chunk.text or lead in chunk.headings for chunk in chunks)


def test_a_sentence_before_a_list_and_a_text_behind_it_have_no_lead() -> None:
    items = "\n".join(f"- paper number {i} of the office in the town hall" for i in range(20))
    for text in (f"It is closed.\n{items}", f"{items[2:]}\n\nThe hall is open from nine to five on all days. " * 2):
        chunks = split(document(text), IngestConfig(chunk_tokens=50, chunk_overlap=0), words)
        assert all(not chunk.headings for chunk in chunks[1:] if "paper" not in chunk.text or "closed" in text)


def test_each_value_of_a_long_row_stays_with_its_name() -> None:
    row = " | ".join(f"Column {i}: value of {i}" for i in range(80))
    for chunk in cut(row, 60):
        assert re.match(r"Column \d+: ", chunk.text)


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("word " * 200, True), ("数据" * 300, True), ("x" * 900, True),
        ("TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyBy\n" * 20, True),
        ("1,2,3,4,5,6,7,8,9\n" * 40, True), (" | ".join(f"c{i}: {i}" for i in range(90)), True), ("word", False),
        ("Annual leave is twenty-five days for all staff, and more for those who work at night. " * 4, False),
        ("员工每年享有带薪年假二十五天夜班人员另加五天" * 12, False),
        ("Name: Ann | Score: 5\nName: Bob | Score: 7\n" * 8, False),
        ("See https://example.org/a/very/long/path/that/goes/on/and/on/for/a/while for more on it, please. " * 3,
         False),
    ],
)  # fmt: skip
def test_text_that_says_nothing_is_known(text: str, nothing: bool) -> None:
    assert says_nothing(text) is nothing


def test_each_part_of_a_table_has_the_lines_above_the_table_as_its_title() -> None:
    rows = [f"| Part {number} | {number}00 | {number}50 |" for number in range(30)]
    table = "\n".join(["| Part | 2023 | 2022 |", "| --- | --- | --- |", *rows])
    chunks = cut(f"We sell parts.\nBalance sheets\n(in millions)\n\n{table}\n\nThe end of it.")
    inner = [chunk for chunk in chunks if chunk.text.startswith("|")]
    assert len(inner) > 2
    assert {chunk.headings for chunk in inner} == {("Balance sheets (in millions)",)}


def test_a_sentence_above_a_table_is_no_title() -> None:
    table = "\n".join(f"| Part {number} | {number}00 |" for number in range(30))
    assert not any(chunk.headings for chunk in cut(f"We sell the parts that are listed here.\n\n{table}"))
