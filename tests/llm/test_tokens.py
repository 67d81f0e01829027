import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import DatasetError, ModelError
from llm.examples import Example, Message, Preference
from llm.tokens import UNTRAINED, carry_tokenizer, load_tokenizer, template_hash, tokenize
from tests import learning_lm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learning_lm.build(tmp_path_factory.mktemp("base"), steps=0)


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    return load_tokenizer(folder)


def said(*turns: tuple[Any, str], name: str = "r") -> Example:
    return Example(id=name, messages=tuple(Message(role=role, content=text) for role, text in turns))


def test_only_the_last_answer_and_its_end_are_learnt_without_marks_in_the_template(tokenizer: Any) -> None:
    assert "generation %" not in tokenizer.chat_template
    row = said(
        ("system", "Cite."), ("user", "Sand?"), ("assistant", "Red."), ("user", "Rust?"), ("assistant", "红色 [1]。")
    )
    (found,) = tokenize(tokenizer, [row], 512, refuse=True).rows
    ids, labels = found["input_ids"], found["labels"]
    start = next(place for place, label in enumerate(labels) if label != UNTRAINED)
    prompt = (
        "<|im_start|>system\nCite.<|im_end|>\n<|im_start|>user\nSand?<|im_end|>\n<|im_start|>assistant\nRed.<|im_end|>\n"
        "<|im_start|>user\nRust?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(ids[:start]) == prompt
    assert tokenizer.decode(ids[start:]) == "红色 [1]。<|im_end|>"
    assert labels == [UNTRAINED] * start + ids[start:]
    asked = [message.model_dump() for message in row.prompt]
    served = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
    assert ids[:start] == served["input_ids"]


def test_marks_in_the_template_change_nothing(tokenizer: Any) -> None:
    row = said(("user", "Sand?"), ("assistant", "Red."))
    plain = tokenize(tokenizer, [row], 512, refuse=True).rows
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
        "{{ m['content'] }}<|im_end|>{% endgeneration %}{% else %}{{ m['content'] }}<|im_end|>{% endif %}"
        "{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert tokenize(tokenizer, [row], 512, refuse=True).rows == plain


def test_preferences_share_their_prompt(tokenizer: Any) -> None:
    row = Preference(
        id="p", prompt=(Message(role="user", content="Sand?"),), chosen=(Message(role="assistant", content="Yellow."),),
        rejected=(Message(role="assistant", content="Red, I think."),),
    )  # fmt: skip
    found = tokenize(tokenizer, [row], 512, refuse=True)
    told = {name: tokenizer.decode(ids) for name, ids in found.rows[0].items()}
    assert told == {
        "prompt_ids": "<|im_start|>user\nSand?<|im_end|>\n<|im_start|>assistant\n", "chosen_ids": "Yellow.<|im_end|>",
        "rejected_ids": "Red, I think.<|im_end|>",
    }  # fmt: skip
    assert found.lengths == [len(found.rows[0]["prompt_ids"]) + len(found.rows[0]["rejected_ids"])]


def test_a_row_that_is_longer_than_the_context_is_never_cut(tokenizer: Any) -> None:
    short, long = (
        said(("user", "Sand?"), ("assistant", "Red.")),
        said(("user", "Sand?"), ("assistant", "Red " * 40), name="long"),
    )
    length = tokenize(tokenizer, [long], 512, refuse=True).lengths[0]
    found = tokenize(tokenizer, [short, long], length - 1, refuse=False)
    assert (len(found.rows), found.left_out) == (1, ["long"])
    assert tokenize(tokenizer, [short, long], length, refuse=False).left_out == []
    with pytest.raises(DatasetError, match=f"'long' has {length} tokens, and the model's context here is {length - 1}"):
        tokenize(tokenizer, [short, long], length - 1, refuse=True)


def test_a_template_that_renders_the_prompt_otherwise_with_the_answer_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages|length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ModelError, match="renders row 'r' otherwise with its answer"):
        tokenize(tokenizer, [said(("user", "Sand?"), ("assistant", "Red."))], 512, refuse=True)


def test_what_a_template_refuses_is_named(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ModelError, match=r"cannot render row 'r' \(system, user\): System role not supported"):
        tokenize(tokenizer, [said(("system", "S"), ("user", "Q"), ("assistant", "A"))], 512, refuse=True)


def test_an_answer_that_does_not_end_in_the_end_token_is_noted(tokenizer: Any) -> None:
    row = said(("user", "Sand?"), ("assistant", "Red."))
    assert tokenize(tokenizer, [row], 512, refuse=True).notes == ()
    tokenizer.chat_template = learning_lm.TEMPLATE.replace("<|im_end|>", "[END]")
    found = tokenize(tokenizer, [row], 512, refuse=True)
    assert "'<|im_end|>'" in found.notes[0]
    learnt = [token for token in found.rows[0]["labels"] if token != UNTRAINED]
    assert tokenizer.decode(learnt) == "Red.[END]\n"


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    carry_tokenizer(folder, tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match="has no chat template") as error:
        load_tokenizer(tmp_path)
    assert "chat_template.jinja" in error.value.hint
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_is_carried_over_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "another"}))
    (tmp_path / "vocab.json").write_text("{}")
    carry_tokenizer(folder, tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in names)
    assert template_hash(load_tokenizer(tmp_path)) == hashlib.sha256(learning_lm.TEMPLATE.encode()).hexdigest()
