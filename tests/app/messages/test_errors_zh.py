"""What errors say in Chinese: each that a page can show has a translation, and keeps what it quotes."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.messages.errors_zh import between, says
from app.ui import models_training
from core.errors import ConfigError, ModelError, RagstoneError
from core.types import Document, Section
from ingest.fault import fault
from llm.methods import METHODS, Shape, default_beta
from llm.trainers import Settings, check_settings
from tests.conftest import ROOT

CHINESE = tomllib.loads((ROOT / "app" / "messages" / "errors_zh.toml").read_text("utf-8"))
# Whose errors reach the pages: what reads, keeps, searches, answers, measures, tunes and trains.
SHOWN = (
    "ingest", "retrieval", "prompts", "app/keeping", "app/running", "app/answering", "app/measuring", "app/prompting",
    "app/training", "app/ui", "llm/adapters.py", "llm/endpoint.py", "llm/chat.py", "llm/plugged.py", "llm/hub.py",
    "llm/pull.py", "llm/registry.py", "llm/trainers.py", "llm/methods.py", "core/plugins.py", "core/sources.py",
    "core/config.py",
)  # fmt: skip
APART = ("retrieval/train.py",)  # of the command line
ERRORS = {error.__name__ for error in (RagstoneError, *RagstoneError.__subclasses__())} - {"ProviderError"}
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


def test_what_a_page_can_show_is_translated() -> None:
    missing = {
        str(file.relative_to(ROOT)): said
        for file in FILES
        if (said := [text for text in templates(file) if needs_words(text) and text not in CHINESE])
    }
    assert missing == {}


def needs_words(text: str) -> bool:
    return bool(re.search("[a-z]{2}", PLACE.sub("", text))) and '{"' not in text


def test_a_translation_quotes_what_the_error_quotes() -> None:
    wrong = []
    for english in CHINESE:
        number = count()
        text = PLACE.sub(lambda _, number=number: f"<{next(number)}>", english)
        found = says(text, "zh")
        quoted = sorted(re.findall(r"<\d+>", found)) == sorted(re.findall(r"<\d+>", text))
        if not quoted or not re.search("[\u4e00-\u9fff]", found):
            wrong.append(english)
    assert wrong == []


def test_message_hint_and_what_they_quote_are_each_translated() -> None:
    inner = "http://127.0.0.1:1/v1 did not answer within 3 s"
    error = ModelError(f"no variants of the question: {inner}", "wait a little and try again")
    assert says(error, "en") == str(error)
    assert says(error, "zh") == ("没有问题的其他问法：http://127.0.0.1:1/v1 在 3 秒内没有响应\n  → 请稍后重试")


@given(st.lists(st.text("ab", max_size=2), min_size=1, max_size=4), st.text("ab", max_size=12))
def test_a_text_has_a_form_exactly_where_the_pattern_of_lazy_groups_matches(pieces: list[str], text: str) -> None:
    found = re.fullmatch("(.*?)".join(map(re.escape, pieces)), text, re.DOTALL)
    assert between(pieces, text) == (list(found.groups()) if found else None)


def test_a_long_text_that_has_no_form_takes_no_time_to_speak_of() -> None:
    for text in ("damaged " + "file: " * 200_000, "damaged PDF file: " * 50_000):  # lazy groups would try each pair
        assert says(text, "zh").count("file: ") > 49_000


def test_the_words_of_a_parser_stay_as_they_are() -> None:
    assert says("zlib: invalid distance too far back", "zh") == "zlib: invalid distance too far back"
    assert "invalid distance" in says("damaged PDF file: zlib: invalid distance", "zh")
    assert says("", "zh") == ""


def test_what_the_form_of_the_models_tab_asks_in_vain_is_said_in_chinese() -> None:
    refused: set[str] = set()
    for method, stage, batch in product(METHODS, models_training._OFFERED, (1, 8)):
        try:
            check_settings(Settings(method, stage, Shape(), 3.0, batch, beta=default_beta(stage)))
        except ConfigError as error:
            refused.add(str(error))
    assert {text.partition(" ")[0] for text in refused} >= {"KTO", "prefix", "llama-adapter"}
    assert [text for text in refused if "take" in says(text, "zh") or "answer" in says(text, "zh")] == []


def test_what_is_wrong_with_a_document_is_said_in_chinese() -> None:
    made: Any = Document  # of anything
    part: Any = Section
    documents = [
        "text", made("abc", notes="a"), made("abc", None), made("abc", date="14.3.2026"),
        made("abc", tags=("#hr",)), made("abc", pages="3"), made("abc", tables=None),
        made("abc", encoding=8), made("abc", ocr_pages=(0,)), made("abc", sections=[]),
        made("abc", sections=(part(0, None),)), made("abc", sections=(part(0, 3, (), 0),)),
        made("abc", sections=(part(0, 9),)), made("abc", sections=(part(0, 2),)),
    ]  # fmt: skip
    for document in documents:
        said = says(fault(document), "zh")
        assert re.search("[\u4e00-\u9fff]", said), said
        assert "must" not in said
