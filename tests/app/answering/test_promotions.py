import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.answering.plan import request
from app.answering.promotions import (
    FILE,
    Choice,
    chosen,
    present,
    promote,
    promoted,
    promotions,
    roll_back,
    settings_for,
)
from core.config import Config
from core.errors import ConfigError, PromptError
from prompts.load import load
from prompts.versions import save
from tests.app.prompt_lab import library, with_library


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return library(tmp_path / "library")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "kb"
    folder.mkdir(parents=True)
    return folder


def test_a_promoted_prompt_answers_with_its_settings_and_nothing_else_changes(
    cfg: Config, lib: Path, home: Path
) -> None:
    cfg = with_library(cfg, lib, answer="answer")
    assert settings_for(cfg, home) is cfg
    promote(lib, home, chosen(lib, "poor/v001,temperature=0,k=3"))
    now = settings_for(cfg, home)
    assert request(now, "Why?", "S")[0].content == "Say something about this."
    assert (now.llm.temperature, now.llm.top_p, now.retrieval.k) == (0.0, cfg.llm.top_p, 3)
    assert now.retrieval.context_tokens == cfg.retrieval.context_tokens
    assert settings_for(now, home) == now
    assert request(cfg, "Why?", "S")[0].content != request(now, "Why?", "S")[0].content


def test_the_configuration_can_keep_promotions_out(cfg: Config, lib: Path, home: Path) -> None:
    promote(lib, home, chosen(lib, "poor"))
    own = with_library(cfg, lib, answer="answer")
    own = own.model_copy(update={"prompts": own.prompts.model_copy(update={"promoted": False})})
    assert settings_for(own, home) is own
    assert present(own, home).label == "answer/v001"


def test_rolling_back_walks_through_the_history(cfg: Config, lib: Path, home: Path) -> None:
    cfg = with_library(cfg, lib, answer="answer")
    first, second = chosen(lib, "poor,k=2"), chosen(lib, "answer-steps")
    promote(lib, home, first)
    promote(lib, home, second)
    promote(lib, home, second)  # stands already
    assert [row.choice for row in promotions(home)] == [first, second]
    back = roll_back(home)
    assert back is not None
    assert back.choice == first
    assert roll_back(home) is None
    assert (promoted(home), present(cfg, home).label) == (None, "answer/v001")
    with pytest.raises(ConfigError, match="nothing to roll back"):
        roll_back(home)


def test_a_version_that_was_edited_after_its_promotion_does_not_answer(cfg: Config, lib: Path, home: Path) -> None:
    promote(lib, home, chosen(lib, "poor"))
    file = lib / "poor" / "v001.toml"
    file.write_text(file.read_text("utf-8").replace("something", "anything"), "utf-8")
    with pytest.raises(PromptError, match="was edited since"):
        settings_for(with_library(cfg, lib), home)


def test_what_writes_no_answers_is_not_promoted(lib: Path, home: Path) -> None:
    for text, message in (("judge", "writes no answers"), ("answer/v009", "no version 9"), ("none", "no prompt")):
        with pytest.raises(PromptError, match=message):
            promote(lib, home, chosen(lib, text))
    assert not (home / FILE).exists()
    with pytest.raises(ConfigError, match="no knowledge base"):
        promote(lib, home.with_name("other"), chosen(lib, "answer"))


@pytest.mark.parametrize(
    "text",
    ["../x", "answer/vx", "answer,k", "answer,k=x", "answer,k=0", "answer,k=1.5", "answer,top_p=2", "answer,x=1"],
)
def test_a_choice_that_cannot_be_is_named(lib: Path, text: str) -> None:
    with pytest.raises(PromptError):
        chosen(lib, text)


def test_without_a_version_the_newest_is_chosen(lib: Path) -> None:
    prompt = load(lib, "poor")
    save(lib, replace(prompt, parent=prompt.label, notes="Second."))
    assert chosen(lib, "poor") == Choice(name="poor", version=2)
    assert (
        chosen(lib, "poor/v1,temperature=0.5,context_tokens=100").label
        == "poor/v001 temperature=0.5 context_tokens=100"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"history": [{"choice": {"name": "a"}}]}', '{"history": 3}'])
def test_a_damaged_file_is_named_and_not_passed_over(cfg: Config, home: Path, text: str) -> None:
    (home / FILE).write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"prompt\.json"):
        settings_for(cfg, home)


def test_a_label_with_its_settings_can_be_read_again(lib: Path) -> None:
    choice = Choice(
        name="poor", version=1, temperature=0.1234567, top_p=1.0, k=7, context_tokens=1_000_000, steps=3, samples=5,
        model="maker/phi-4.0",
    )  # fmt: skip
    assert chosen(lib, choice.label.replace(" ", ",")) == choice


def test_a_model_is_compared_with_and_not_promoted(lib: Path, home: Path) -> None:
    with pytest.raises(PromptError, match=r"poor/v001 model=other"):
        promote(lib, home, chosen(lib, "poor/v1,model=other"))
    assert not (home / FILE).exists()


def test_a_promotion_says_when_and_by_whom(lib: Path, home: Path) -> None:
    promote(lib, home, chosen(lib, "poor"), by="ann")
    row = json.loads((home / FILE).read_text("utf-8"))["history"][0]
    assert (row["by"], row["choice"], len(row["when"])) == ("ann", {"name": "poor", "version": 1}, 19)
