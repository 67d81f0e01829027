"""JSON and JSON lines."""

import json

from core.config import IngestConfig
from ingest.readers.record import read_json, read_json_lines

CFG = IngestConfig()


def test_nested_values_become_lines_with_their_path() -> None:
    data = {
        "server": {"port": 8080, "on": True, "note": None},
        "tags": ["a", "b"],
        "users": [{"name": "Li"}, {"name": "Wu"}],
    }
    assert read_json(json.dumps(data).encode(), CFG).text.split("\n") == [
        "server.port: 8080",
        "server.on: true",
        "tags: a, b",
        "users[0].name: Li",
        "users[1].name: Wu",
    ]


def test_the_items_of_an_outer_list_are_sections() -> None:
    document = read_json('[{"问": "年假几天"}, {"问": "病假几天"}]'.encode(), CFG)
    assert [document.text[s.start : s.end] for s in document.sections] == ["问: 年假几天", "问: 病假几天"]


def test_escaped_control_characters_and_surrogates_do_not_get_in() -> None:
    assert read_json(rb'{"a": "x\u0000y\ud800z \ud83d\ude00"}', CFG).text == "a: xyz 😀"


def test_json_with_comments_is_read_as_text() -> None:
    assert read_json(b'{\n  // a comment\n  "port": 1,\n}', CFG).text == '{\n  // a comment\n  "port": 1,\n}'


def test_each_line_is_a_section_and_a_broken_one_is_kept() -> None:
    document = read_json_lines(b'{"a": 1}\n\n{"a": 2\n{"a": 3}\n', CFG)
    assert [document.text[s.start : s.end] for s in document.sections] == ["a: 1", '{"a": 2', "a: 3"]
