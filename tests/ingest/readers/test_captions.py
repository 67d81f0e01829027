"""Subtitles, lyrics and tables of translations."""

import pytest

from core.config import IngestConfig
from ingest.read import read_bytes

_ASS = (
    "[Script Info]\nTitle: x\n[V4+ Styles]\nStyle: Default,Arial\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\i1}Hello, world\\N你好\n"
    "Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,hidden\n"
    "Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 1 1\n"
)
_PO = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain\\n"\n\n'
    '#: a.c:1\nmsgid "Save"\nmsgstr "保存"\n\n#, fuzzy\nmsgid "Open"\n'
    'msgstr "错"\n\nmsgctxt "menu"\nmsgid "Say \\"hi\\" "\n"twice"\nmsgstr "问好"\n\n'
    'msgid "%d day"\nmsgid_plural "%d days"\n'
    'msgstr[0] "%d 天"\n\n#~ msgid "old"\n#~ msgstr "旧"\n'
)


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("x.ass", _ASS, "Hello, world 你好"),
        ("x.lrc", "[ti:Song]\n[00:12.00]One\n[00:15.30][00:40.00]Two <00:16.00>more\n", "Song\nOne\nTwo more"),
        ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\n<i>See</i> [1]\n", "See [1]"),
        ("x.po", _PO, 'Save = 保存\nOpen\nSay "hi" twice (menu) = 问好\n%d day / %d days = %d 天'),
    ],
)  # fmt: skip
def test_what_is_read_on_the_screen(name: str, source: str, text: str) -> None:
    assert read_bytes(name, source.encode(), IngestConfig()).text == text
