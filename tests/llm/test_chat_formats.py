import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError
from llm.chat_formats import Format, read_chats
from llm.examples import read_examples, write_rows

ALPACA = {"instruction": "Translate.", "input": "年假", "output": "annual leave"}
SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."},
        {"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "A model."},
    ]
}  # fmt: skip
OPENAI = {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}


def said(file: Path, format: Format | None = None) -> list[list[tuple[str, str]]]:
    return [[(m.role, m.content) for m in example.messages] for example in read_chats(file, format).examples]


def jsonl(tmp_path: Path, *rows: Any) -> Path:
    file = tmp_path / "chats.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return file


def test_alpaca_asks_the_instruction_and_its_input(tmp_path: Path) -> None:
    full = {
        "instruction": "And now?",
        "input": "",
        "output": "Noon.",
        "system": "Be brief.",
        "history": [["Hi", "Yes?"]],
    }
    assert said(jsonl(tmp_path, ALPACA, full)) == [
        [("user", "Translate.\n\n年假"), ("assistant", "annual leave")],
        [
            ("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "And now?"),
            ("assistant", "Noon."),
        ],
    ]  # fmt: skip


def test_system_prompts_and_earlier_turns_of_sharegpt_are_kept(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who are you?"),
        ("assistant", "A model."),
    ]  # fmt: skip
    beside = {"system": "Be brief.", "conversations": SHAREGPT["conversations"][1:]}
    assert said(jsonl(tmp_path, SHAREGPT, beside)) == [turns, turns]


def test_openai_conversations_are_taken_as_they_are_and_our_own_sets_too(tmp_path: Path) -> None:
    developer = {"messages": [{"role": "developer", "content": "Be kind."}, *OPENAI["messages"]]}
    file = jsonl(tmp_path, OPENAI, developer)
    assert said(file, "openai") == [
        [("user", "1+1?"), ("assistant", "2")],
        [("system", "Be kind."), ("user", "1+1?"), ("assistant", "2")],
    ]
    own = tmp_path / "own.jsonl"
    write_rows(own, read_chats(file).examples)
    assert said(own) == said(file)
    assert {(e.kind, e.origin) for e in read_examples(own)} == {("chat", "import:openai")}


@pytest.mark.parametrize(
    ("row", "format"), [(ALPACA, "alpaca"), (SHAREGPT, "sharegpt"), (OPENAI, "openai")], ids=["alpaca", "sg", "openai"]
)
def test_the_format_is_told_from_the_first_row_of_lines_or_an_array(tmp_path: Path, row: Any, format: Format) -> None:
    lines = jsonl(tmp_path, row, "", row)
    array = tmp_path / "chats.json"
    array.write_text("\ufeff " + json.dumps([row, row], indent=2), encoding="utf-8")
    assert read_chats(lines).format == read_chats(array).format == format
    assert said(lines) == said(array, format)


def test_rows_with_an_empty_message_are_left_out_and_named(tmp_path: Path) -> None:
    empty = ALPACA | {"output": "  \n"}
    found = read_chats(jsonl(tmp_path, empty, ALPACA, "", ALPACA | {"output": None}))
    assert len(found.examples) == 1
    assert found.empty == ("line 1", "line 4")
    with pytest.raises(DatasetError, match="all 2 rows have an empty message"):
        read_chats(jsonl(tmp_path, empty, empty))


def chat(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": "x"} for role in roles]}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (chat("assistant", "user"), "roles in the order assistant, user"),
        (chat("user", "assistant", "user"), "roles in the order"),
        (chat("user", "user", "assistant"), "roles in the order"),
        (chat("user", "assistant", "system"), "roles in the order"),
        (chat("system"), "roles in the order system"),
        (chat(), "no message"),
        (chat("user", "tool", "assistant"), "message 2: unknown role 'tool'"),
        ({"messages": "hello"}, "'messages' is a list"),
        ({"messages": ["hello"]}, "message 1: expected an object"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "message 1: 'content' is text"),
        ({"messages": [{"role": "user"}]}, "message 1: 'content' is missing"),
        (OPENAI | {"tools": [{"type": "function"}]}, "'tools'"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "'tool_calls'"),
        ({"messages": [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "x"}]}, "unicode"),
        ({"prompt": "x"}, "'messages' is a list"),
        ([1], "a row is an object"),
        ("{'messages': 1}", "not JSON"),
        ('{"messages": ' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_malformed_is_refused_with_its_line(tmp_path: Path, row: Any, what: str) -> None:
    file = jsonl(tmp_path, OPENAI, row)
    with pytest.raises(DatasetError, match=what) as error:
        read_chats(file)
    assert f"{file}: line 2" in error.value.message
    assert error.value.hint


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"instruction": "x", "input": "y"}, "row 1: 'output' is missing"),
        ({"instruction": "x", "output": 3}, "row 1: 'output' is text, not 3"),
        ({"instruction": "x", "output": "y", "history": [["only one"]]}, "row 1: 'history' holds pairs"),
        ({"text": "x"}, "row 1: none of the known formats has the keys 'text'"),
    ],
)
def test_rows_of_an_array_are_counted(tmp_path: Path, row: Any, what: str) -> None:
    file = tmp_path / "chats.json"
    file.write_text(json.dumps([row]))
    with pytest.raises(DatasetError, match=what):
        read_chats(file)


def test_a_file_that_cannot_be_read_or_is_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.jsonl.*cannot be read: No such file"):
        read_chats(tmp_path / "absent.jsonl")
    (tmp_path / "gbk.jsonl").write_bytes("年假".encode("gbk"))
    with pytest.raises(DatasetError, match="not UTF-8"):
        read_chats(tmp_path / "gbk.jsonl")
    with pytest.raises(DatasetError, match="it holds no row"):
        read_chats(jsonl(tmp_path, ""))
