"""Readers of LangChain and LlamaIndex by name, and what readers and chunkers of others may not do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as Loaded

from core import plugins
from core.config import IngestConfig
from core.errors import ConfigError, ReadError
from core.types import Document, Section
from ingest import plugged
from ingest.read import read_bytes, supported
from ingest.workers import read_apart, reader_identity

made: Any = Document  # of anything
part: Any = Section
JSON = "llama_index:llama_index.core.readers.json:JSONReader"


class Pages(BaseLoader):
    """A page for each line of a file."""

    def __init__(self, path: Path, mark: str = "") -> None:
        self.path, self.mark = path, mark

    def lazy_load(self) -> Iterator[Loaded]:
        for number, line in enumerate(self.path.read_text().splitlines(), start=1):
            label = str(number) if line != "endless" else "9" * 30
            yield Loaded(page_content=self.mark + line, metadata={"page_label": label, "title": "Lines"})


class Given:
    """A plug-in that gives what a test says."""

    gives: Any = None
    version = 3

    def read(self, data: bytes, name: str) -> Any:
        return self.gives

    def spans(self, document: Document, tokens: int, count: Any) -> Any:
        return self.gives


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> type[Given]:
    """The plug-in that every `plugin:` names."""
    made = plugins.Plugged(Given(), "plug-in 'given' of acme 1")
    monkeypatch.setattr(plugins, "make", lambda *_: made)
    return Given


def test_a_reader_of_llama_index_reads_a_suffix_in_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "a.har"
    file.write_text(json.dumps({"host": "intranet", "status": 200}))
    assert not supported(file, IngestConfig())
    cfg = IngestConfig(readers={".har": JSON})
    assert supported(file, cfg)
    document = read_apart(file, cfg).document
    assert "intranet" in document.text
    assert document.sections[0].end == len(document.text)
    assert reader_identity(cfg) != reader_identity(IngestConfig())


def test_a_loader_of_langchain_stands_in_place_of_our_reader_and_keeps_its_pages() -> None:
    cfg = IngestConfig(readers={".txt": f"langchain:{__name__}:Pages"}, reader_settings={".txt": {"mark": "> "}})
    document = read_bytes("a.txt", b"one\ntwo\n", cfg)
    assert (document.title, document.pages) == ("Lines", 2)
    assert [(document.text[s.start : s.end].strip(), s.page) for s in document.sections] == [("> one", 1), ("> two", 2)]
    assert read_bytes("a.txt", b"endless\n", cfg).sections[0].page is None
    assert read_bytes("a.txt", b"one\n", IngestConfig()).text == "one\n"


def test_a_reader_that_fails_or_is_not_there_is_an_error_of_its_files_alone() -> None:
    with pytest.raises(ReadError, match="JSONReader failed: JSONDecodeError"):
        read_bytes("a.har", b"{", IngestConfig(readers={".har": JSON}))
    with pytest.raises(ReadError, match="'plugin:none' is not installed"):
        read_bytes("a.xyz", b"x", IngestConfig(readers={".xyz": "plugin:none"}))
    with pytest.raises(ReadError, match="names no plug-in"):
        read_bytes("a.xyz", b"x", IngestConfig(readers={".xyz": "xyz"}))


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ("text", "it is str and no core.types.Document"),
        (made("abc", sections=(part(0, 4),)), "leave its text at 0:4"),
        (made("abcd", sections=(part(0, 2), part(1, 4))), "sections overlap"),
        (made("abcd", sections=(part(0, 2),)), "leave out a part of its text, 2:4"),
        (made("abcd", sections=(part(0, 1), part(3, 4))), "leave out a part of its text, 1:3"),
        (made(b"abc"), "text must be a text, not bytes"),
        (made("half \ud800"), "text must be a text, not str"),
        (made("abc", None), "title must be a text, not NoneType None"),
        (made("abc", notes="two words"), "notes must be a tuple of texts, not str 'two words'"),
        (made("abc", notes=(1,)), "notes must be a tuple of texts"),
        (made("abc", encoding=8), "encoding must be a text or None"),
        (made("abc", pages="3"), "pages must be a whole number or None, not str '3'"),
        (made("abc", pages=2**70), "pages must be a whole number"),
        (made("abc", tables=True), "tables must be a whole number"),
        (made("abc", empty_pages=(0,)), "empty_pages must be a tuple of page numbers from 1"),
        (made("abc", ocr_pages=[1]), "ocr_pages must be a tuple of page numbers from 1"),
        (made("abc", sections=[part(0, 3)]), "sections must be a tuple of core.types.Section, not list"),
        (made("abc", sections=((0, 3),)), "sections must be a tuple of core.types.Section, not tuple (0, 3)"),
        (made("abc", sections=(part(0, 3.0),)), "section 0:3.0 must begin and end at whole numbers"),
        (made("abc", sections=(part(0, 3, "Leave"),)), "headings of section 0:3 must be a tuple of texts"),
        (made("abc", sections=(part(0, 3, (), 0),)), "page of section 0:3 must be a number from 1 or None"),
        (made("abc", date="14.3.2026"), "date must be a year, a month or a day as 2026, 2026-03 or 2026-03-14"),
        (made("abc", date="2026-02-30"), "not '2026-02-30'"),
        (made("abc", tags="hr"), "tags must be a tuple of texts, not str 'hr'"),
        (made("abc", tags=("#hr",)), "each of its tags must be one line of at most 100 characters without # in"),
        (made("abc", tags=("hr", "HR")), "none twice"),
        (made("abc", tags=("two\nlines",)), "each of its tags must be one line"),
    ],
)
def test_a_document_that_cannot_be_kept_is_an_error_of_its_file_and_of_its_reader(
    given: type[Given], gives: Any, said: str
) -> None:
    given.gives = gives
    with pytest.raises(ReadError) as error:
        read_bytes("a.xyz", b"x", IngestConfig(readers={".xyz": "plugin:given"}))
    assert error.value.message.startswith("plug-in 'given' of acme 1 gave a document that cannot be kept: ")
    assert said in error.value.message
    assert error.value.hint == "its reader has a fault: docs/extending.md says what a document holds"


@pytest.mark.parametrize("date", ["", "2026", "2026-03", "2026-03-14"])
def test_a_document_with_all_that_one_may_hold_is_kept(given: type[Given], date: str) -> None:
    sections = (Section(1, 3, ("Leave", "年假"), 1), Section(3, 4, (), 2))
    given.gives = Document(
        " abc ", "T", sections, 2, (2,), "utf-8", 1, (1,), ("a note",), ("hr", "net work"), date
    )  # fmt: skip
    cfg = IngestConfig(readers={".xyz": "plugin:given"})
    assert read_bytes("a.xyz", b"x", cfg) == given.gives
    given.gives = Document(" ")
    with pytest.raises(ReadError, match="no text in it"):
        read_bytes("a.xyz", b"x", cfg)


def test_spans_become_chunks_with_headings_and_page_of_their_section(given: type[Given]) -> None:
    text = "Leave is 25 days. Trips are approved."
    document = Document(text, sections=(Section(0, 18, ("Leave",), 1), Section(18, len(text), ("Travel",), 2)))
    given.gives = [(0, 17), (10, 18), (17, 18), (18, len(text))]
    chunks = plugged.chunks(document, IngestConfig(chunker="plugin:given"), len)
    assert [(c.ordinal, c.text, c.headings, c.page) for c in chunks] == [
        (0, "Leave is 25 days.", ("Leave",), 1), (1, text[10:18], ("Leave",), 1),
        (2, "Trips are approved.", ("Travel",), 2),
    ]  # fmt: skip
    assert all(document.text[c.start : c.end] == c.text for c in chunks)


@pytest.mark.parametrize("gives", [[(3, 9), (0, 2)], [(0, 0)], [(0, 999)], [(-1, 2)], 5])
def test_spans_that_are_no_places_are_an_error_of_the_file(given: type[Given], gives: Any) -> None:
    given.gives = gives
    with pytest.raises(ReadError, match="plug-in 'given' of acme 1 failed"):
        plugged.chunks(Document("Leave is 25 days."), IngestConfig(chunker="plugin:given"), len)


def test_the_name_of_a_chunker_holds_its_settings_and_ends_with_its_version(given: type[Given]) -> None:
    plain = plugged.splitter(IngestConfig(chunker="plugin:given"))
    assert plain == "plugin:given-3"
    one, other = (plugged.splitter(IngestConfig(chunker="plugin:given", chunker_settings={"size": n})) for n in (1, 2))
    assert len({plain, one, other}) == 3
    assert one.endswith("-3")
    with pytest.raises(ConfigError, match="names no plug-in"):
        plugged.splitter(IngestConfig(chunker="given"))
