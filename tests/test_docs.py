"""What is written about the house is true of it: links lead somewhere, named files are there, Chinese says the same."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

PAGES = sorted(page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("findings/*.md")))
ZH = ROOT / "docs" / "zh"
FOR_ENGINEERS = {"architecture.md", "databases.md"}  # in English only, as docs/decisions is
FOR_USERS = {
    page.relative_to(ROOT / "docs").as_posix(): page
    for page in (*ROOT.glob("docs/*.md"), *ROOT.glob("docs/methods/*.md"))
    if page.name not in FOR_ENGINEERS
} | {"SECURITY.md": ROOT / "SECURITY.md"}
ENGLISH = {ROOT / "README.zh.md": ROOT / "README.md"} | {ZH / name: page for name, page in FOR_USERS.items()}
_MODULE = re.compile(r"`((?:app|core|ingest|llm|prompts|retrieval|bench|tests)/[a-z0-9_/]+\.py)`")
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_WORDS = re.compile(r"(?m)(?<=\S) {2,}#.*$|^((?:[a-z]+/\S* +)+).*$")  # comments; what stands behind the paths of a tree
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    return _MARKDOWN.parse(page.read_text("utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file that each link of a page into this tree names, and the anchor, "" without one."""
    for token in tokens(page):
        yield from links_of(token, page)


def links_of(token: Token, page: Path) -> Iterator[tuple[Path, str]]:
    for child in token.children or ():
        target = str(child.attrs.get("href") or child.attrs.get("src") or "")
        if target and not re.match(r"[a-z]+:", target):
            path, _, anchor = unquote(target).partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them: in small letters, hyphens for spaces."""
    found = tokens(page)
    names = [found[place + 1] for place, token in enumerate(found) if token.type == "heading_open"]
    said = ["".join(child.content for child in name.children or ()) for name in names]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in said]


def test_links_between_pages_lead_to_files() -> None:
    assert [(page.name, file.name) for page in PAGES for file, _ in links(page) if not file.exists()] == []


def test_anchors_of_links_are_headings() -> None:
    lost = [
        (page.name, f"{file.name}#{anchor}")
        for page in PAGES
        for file, anchor in links(page)
        if anchor and anchor not in anchors(file)
    ]
    assert lost == []


def test_files_that_pages_name_are_there() -> None:
    lost = [
        (page.name, name)
        for page in PAGES
        if page.name != "CHANGELOG.md"  # which tells of what was
        for name in _MODULE.findall(page.read_text("utf-8"))
        if not (ROOT / name).exists()
    ]
    assert lost == []


class Block(NamedTuple):
    """What a heading, paragraph, list item, cell or block of code has in common with its translation."""

    kind: str
    code: Counter[str]  # spans; of a block of code its text, without comments behind the lines
    figures: Counter[str]
    links: Counter[tuple[str, int]]  # file in English, place of the heading there or -1


def blocks(page: Path) -> list[Block]:
    """A page as what does not depend on the language, in order: its structure, code, figures and links."""
    found = []
    for token in tokens(page):
        text = [child.content for child in token.children or () if child.type == "text"]
        spans = [child.content for child in token.children or () if child.type == "code_inline"]
        if token.type in ("fence", "code_block"):
            spans = [token.info, _WORDS.sub(r"\1", token.content)]
        to = [
            (ENGLISH.get(file, file).relative_to(ROOT).as_posix(), anchors(file).index(anchor) if anchor else -1)
            for file, anchor in links_of(token, page)
        ]
        found.append(Block(token.type, Counter(spans), Counter(_FIGURE.findall(" ".join(text))), Counter(to)))
    return found


def test_each_page_for_users_is_there_in_chinese_too() -> None:
    assert {page.relative_to(ZH).as_posix() for page in ZH.glob("**/*.md")} == set(FOR_USERS)


@pytest.mark.parametrize("page", sorted(ENGLISH), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_chinese_page_has_the_structure_code_figures_and_links_of_the_english_one(page: Path) -> None:
    chinese, english = blocks(page), blocks(ENGLISH[page])
    for said, meant in zip(chinese, english, strict=False):
        assert said == meant
    assert len(chinese) == len(english)


@pytest.mark.parametrize("page", sorted(ENGLISH), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_leads_to_its_other_language_first_and_chinese_pages_stay_in_chinese(page: Path) -> None:
    (first, _), *others = links(page)
    assert first == ENGLISH[page]
    assert next(links(ENGLISH[page]))[0] == page
    assert [file.name for file, _ in others if file in ENGLISH.values()] == []


@pytest.mark.parametrize("page", sorted(ENGLISH), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_bold_chinese_is_shown_bold(page: Path) -> None:
    """Between punctuation of Chinese and a character, two asterisks are only asterisks in CommonMark."""
    texts = [child.content for token in tokens(page) for child in token.children or () if child.type == "text"]
    assert [text for text in texts if "**" in text] == []
