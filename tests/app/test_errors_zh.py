"""What errors say in Chinese: each that a page can show has a translation, and keeps what it quotes."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from app.errors_zh import says
from core.errors import ModelError
from tests.conftest import ROOT

CHINESE = tomllib.loads((ROOT / "app" / "errors_zh.toml").read_text("utf-8"))
# Whose errors reach the pages: what reads, keeps, searches and answers.
SHOWN = (
    "ingest", "retrieval", "prompts", "app/keeping", "app/running", "app/backend.py", "app/view.py", "app/adapter.py",
    "app/prompting/promotions.py", "llm/adapters.py", "llm/endpoint.py", "llm/chat.py",
)  # fmt: skip
APART = ("retrieval/train.py", "retrieval/tuning.py")  # of the command line
ERRORS = {"ConfigError", "ReadError", "CatalogError", "ModelError", "PromptError", "AccessError", "LimitError"}
PLACE = re.compile(r"(?<!\{)\{\d*\}(?!\})")


def templates(file: Path) -> Iterator[str]:
    """Messages and hints that a file writes out where it makes an error, `{}` for what is put into them."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS:
            for part in node.args[:2]:
                yield from written(part)


def written(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from written(node.body)
        yield from written(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        pieces = [piece.value if isinstance(piece, ast.Constant) else "{}" for piece in node.values]
        if all(isinstance(piece, str) for piece in pieces):
            yield "".join(map(str, pieces))


FOUND = [file for name in SHOWN for file in (sorted((ROOT / name).rglob("*.py")) or [ROOT / name])]
FILES = [file for file in FOUND if str(file.relative_to(ROOT)) not in APART]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_a_page_can_show_is_translated(file: Path) -> None:
    said = [text for text in templates(file) if re.search("[a-z]{2}", PLACE.sub("", text)) and '{"' not in text]
    assert [text for text in said if text not in CHINESE] == []


@pytest.mark.parametrize("english", CHINESE)
def test_a_translation_quotes_what_the_error_quotes(english: str) -> None:
    number = count()
    text = PLACE.sub(lambda _: f"<{next(number)}>", english)
    found = says(text, "zh")
    assert re.search("[\u4e00-\u9fff]", found)
    assert sorted(re.findall(r"<\d+>", found)) == sorted(re.findall(r"<\d+>", text))


def test_message_hint_and_what_they_quote_are_each_translated() -> None:
    inner = "http://127.0.0.1:1/v1 did not answer within 3 s"
    error = ModelError(f"no variants of the question: {inner}", "wait a little and try again")
    assert says(error, "en") == str(error)
    assert says(error, "zh") == ("没有问题的其他问法：http://127.0.0.1:1/v1 在 3 秒内没有响应\n  → 请稍后重试")


def test_the_words_of_a_parser_stay_as_they_are() -> None:
    assert says("zlib: invalid distance too far back", "zh") == "zlib: invalid distance too far back"
    assert "invalid distance" in says("damaged PDF file: zlib: invalid distance", "zh")
    assert says("", "zh") == ""
