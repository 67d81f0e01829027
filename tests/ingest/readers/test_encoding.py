"""Which encoding a file is read with, and what is refused as no text."""

import pytest

from core.config import IngestConfig
from core.errors import ConfigError, ReadError
from ingest.readers.encoding import decode

CFG = IngestConfig()
SIMPLIFIED = "员工每年享有五天年假，病假另计。\n联系电话 010-1234。"
TRADITIONAL = "員工每年享有五天年假，病假另計。\n請聯絡人力資源部。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (SIMPLIFIED, "utf-8"),
        (SIMPLIFIED, "utf-8-sig"),
        (SIMPLIFIED, "utf-16"),
        (SIMPLIFIED, "utf-16-le"),
        (SIMPLIFIED, "utf-16-be"),
        (SIMPLIFIED, "utf-32"),
        (SIMPLIFIED, "gbk"),
        (SIMPLIFIED + "𠀀", "gb18030"),
        (SIMPLIFIED, "hz"),
        (TRADITIONAL, "big5"),
        (TRADITIONAL, "big5hkscs"),
        ("Plain English text.\nTwo lines.", "ascii"),
        ("Plain English text.\nTwo lines.", "utf-16-le"),
        ("Le café naïve coûte deux euros, déjà payés à l'hôtel.", "cp1252"),
        ("Привет, мир! Это простой текст.", "cp1251"),
        ("こんにちは、これは日本語の文章です。", "shift_jis"),
    ],
)
def test_text_comes_back_from_each_encoding(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), CFG)[0] == text


@pytest.mark.parametrize("text", ["年假五天", "你好", "请假制度"])
def test_a_gbk_file_of_a_few_bytes_is_read(text: str) -> None:
    assert decode(text.encode("gbk"), CFG) == (text, "gb18030")


def test_a_short_big5_file_is_read() -> None:
    assert decode("繁體中文測試".encode("big5"), CFG) == ("繁體中文測試", "big5hkscs")


def test_configured_encodings_are_tried_in_their_order_before_guessing() -> None:
    data = "測試".encode("big5")
    assert decode(data, IngestConfig(encodings=["big5", "gbk"]))[0] == "測試"
    assert decode(data, IngestConfig(encodings=["gbk", "big5"]))[1] == "gb18030"


def test_an_unknown_configured_encoding_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"ingest\.encodings.*'gbkk'"):
        decode("测试".encode("gbk"), IngestConfig(encodings=["gbkk"]))


def test_utf8_with_a_broken_byte_stays_utf8() -> None:
    text, encoding = decode((SIMPLIFIED * 5).encode() + b"\xe5\x91", CFG)
    assert encoding == "utf-8"
    assert text.startswith(SIMPLIFIED)


def test_lines_of_two_encodings_are_each_read_with_their_own() -> None:
    data = f"第一行：{SIMPLIFIED}\n".encode() + f"第二行：{SIMPLIFIED}".encode("gbk")
    assert decode(data, CFG) == (f"第一行：{SIMPLIFIED}\n第二行：{SIMPLIFIED}", "utf-8+gb18030")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="gb2312">', "gbk"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=big5">', "big5"),
        ('<?xml version="1.0" encoding="Shift_JIS"?>', "shift_jis"),
        ('<meta charset="windows-1251">', "cp1251"),
        ('<meta charset="gbk">', "utf-8"),
        ('<meta charset="utf-8">', "gbk"),
        ('<meta charset="iso-8859-1">', "gbk"),
        ('<meta charset="no-such-charset">', "gbk"),
    ],
)
def test_a_declared_encoding_is_used_unless_the_bytes_contradict_it(head: str, encoding: str) -> None:
    words = {"big5": TRADITIONAL, "shift_jis": "これは日本語の文章です。", "cp1251": "Привет, мир"}
    text = head + words.get(encoding, SIMPLIFIED)
    assert decode(text.encode(encoding), CFG, markup=True)[0] == text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "PNG image"),
        (b"PK\x03\x04" + bytes(range(256)) * 20, "zip archive"),
        (bytes(range(256)) * 20, "binary data"),
        (b"\0" * 500, "binary data"),
    ],
)
def test_binary_data_is_refused_by_what_it_looks_like(data: bytes, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        decode(data, CFG)


def test_a_few_zero_bytes_do_not_make_a_text_binary() -> None:
    assert "年假" in decode(SIMPLIFIED.encode() * 4 + b"\0\0", CFG)[0]
