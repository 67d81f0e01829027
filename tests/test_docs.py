"""What is written about the house is true of it: links lead to files, named files are there."""

import re

from tests.conftest import ROOT

PAGES = sorted(page for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("findings/*.md")))
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
_MODULE = re.compile(r"`((?:app|core|ingest|llm|prompts|retrieval|bench|tests)/[a-z0-9_/]+\.py)`")


def test_links_between_pages_lead_to_files() -> None:
    lost = [
        (page.name, link)
        for page in PAGES
        for link in _LINK.findall(page.read_text("utf-8"))
        if not (page.parent / link).exists()
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


def said(page: str) -> tuple[list[str], list[list[str]]]:
    """The commands of a page without their comments, and the figures of each row of its tables."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    tree = re.compile(r" {4}[a-z]+/")
    commands = [line.split("  #")[0].rstrip() for line in lines if line.startswith("    ") and not tree.match(line)]
    rows = [re.findall(r"\d[\d.,]*\d|\d", line) for line in lines if line.startswith("|")]
    return [command for command in commands if " " in command.strip()], rows


def test_the_chinese_readme_has_the_commands_and_the_figures_of_the_english_one() -> None:
    assert said("README.zh.md") == said("README.md")
