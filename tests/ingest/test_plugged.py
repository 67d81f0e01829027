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

JSON = "llama_index:llama_index.core.readers.json:JSONReader"


class Pages(BaseLoader):
    """A page for each line of a file."""

    def __init__(self, path: Path, mark: str = "") -> None:
        self.path, self.mark = path, mark

    def lazy_load(self) -> Iterator[Loaded]:
        for number, line in enumerate(self.path.read_text().splitlines(), start=1):
            yield Loaded(page_content=self.mark + line, metadata={"page_label": str(number), "title": "Lines"})


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
        ("text", "gave str and no core.types.Document"),
        (Document("abc", sections=(Section(0, 4),)), "leave its text at 0:4"),
        (Document("abcd", sections=(Section(0, 2), Section(1, 4))), "sections overlap"),
        (Document("abcd", sections=(Section(0, 2),)), "leave out a part of its text"),
        (Document("  "), "no text in it"),
    ],
)
def test_a_document_that_is_none_is_refused(given: type[Given], gives: Any, said: str) -> None:
    given.gives = gives
    with pytest.raises(ReadError) as error:
        read_bytes("a.xyz", b"x", IngestConfig(readers={".xyz": "plugin:given"}))
    assert said in error.value.message


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
