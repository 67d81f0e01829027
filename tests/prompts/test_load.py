from pathlib import Path

import pytest

from core.errors import PromptError
from core.types import Turn
from prompts.load import load, versions
from tests.conftest import ROOT

LIBRARY = ROOT / "prompts" / "library"
BODY = 'variables = ["question"]\n[en]\nsystem = "Be brief."\nuser = "{question}"\n'


def put(tmp_path: Path, body: str, version: int = 1) -> Path:
    file = tmp_path / "greet" / f"v{version:03d}.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(body, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("file", sorted(LIBRARY.rglob("*.toml")), ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_every_prompt_of_the_library_loads_in_both_languages(file: Path) -> None:
    prompt = load(LIBRARY, file.parent.name, int(file.stem[1:]))
    assert {"en", "zh"} <= set(prompt.parts)


def test_the_answer_prompt_renders_to_system_history_and_question() -> None:
    values = {"sources": '<source n="1">{braces} stay</source>', "question": "How {many}?"}
    history = [Turn("user", "Hi"), Turn("assistant", "Hello")]
    messages = load(LIBRARY, "answer").render("en", values, history)
    assert [m.type for m in messages] == ["system", "human", "ai", "human"]
    assert str(messages[0].content).endswith('<source n="1">{braces} stay</source>')
    assert [m.content for m in messages[1:]] == ["Hi", "Hello", "How {many}?"]
    assert "NO_ANSWER" in str(messages[0].content)


def test_late_sources_stand_before_the_question_and_all_else_stays() -> None:
    prompt = load(LIBRARY, "answer")
    history = [Turn("user", "Hi"), Turn("assistant", "Hello")]
    values = {"sources": '<source n="1">{braces} stay</source>', "question": "How {many}?"}
    early, late = (prompt.render("en", values, history, late=late) for late in (False, True))
    assert early[0].text == f"{late[0].text}\n\n{values['sources']}"
    assert [m.text for m in late[1:]] == ["Hi", "Hello", f"{values['sources']}\n\nHow {{many}}?"]
    other = prompt.render("en", values | {"sources": "others"}, history, late=True)
    assert [m.text for m in other[:-1]] == [m.text for m in late[:-1]]  # what a server need not compute again


def test_sources_that_a_prompt_has_elsewhere_stay_there(tmp_path: Path) -> None:
    body = 'variables = ["question", "sources"]\n[en]\nsystem = "{sources} Be brief."\nuser = "{question}"\n'
    messages = load(put(tmp_path, body), "greet").render("en", {"question": "?", "sources": "S"}, late=True)
    assert [m.content for m in messages] == ["S Be brief.", "?"]


def test_a_language_without_a_section_is_asked_in_english(tmp_path: Path) -> None:
    messages = load(put(tmp_path, BODY), "greet").render("fr", {"question": "?"})
    assert [m.content for m in messages] == ["Be brief.", "?"]


def test_version_0_is_the_newest_and_its_id_is_that_of_its_content(tmp_path: Path) -> None:
    put(tmp_path, BODY)
    put(tmp_path, BODY.replace("brief", "short"), 2)
    assert versions(tmp_path, "greet") == [1, 2]
    assert load(tmp_path, "greet").version == 2
    assert load(tmp_path, "greet", 1).id != load(tmp_path, "greet", 2).id


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("variables = [\n", "not valid TOML"),
        (BODY.replace("{question}", "{questoin}"), "questoin"),
        (BODY.replace('["question"]', '["question", "tone"]'), "tone"),
        (BODY.replace("{question}", "{question"), "no template"),
        (BODY.replace("[en]", "[zh]"), r"\[en\] section is missing"),
        (BODY.replace("user =", "usr ="), "system and user"),
    ],
)
def test_a_malformed_prompt_is_named_with_its_file(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        load(put(tmp_path, body), "greet")
    assert "v001.toml" in str(error.value)


def test_missing_prompts_versions_and_values_are_named(tmp_path: Path) -> None:
    put(tmp_path, BODY)
    with pytest.raises(PromptError, match="no prompt 'none'"):
        load(tmp_path, "none")
    with pytest.raises(PromptError, match=r"no version 7 \(there: 1\)"):
        load(tmp_path, "greet", 7)
    with pytest.raises(PromptError, match="given no question"):
        load(tmp_path, "greet").render("en", {})
    with pytest.raises(PromptError, match="cannot name"):
        load(tmp_path, "../greet")


def test_demonstrations_stand_before_the_conversation_with_sources_of_their_own(tmp_path: Path) -> None:
    demo = '[[en.demos]]\nquestion = "A {b}?"\nsources = "<source>"\nanswer = "C [1]."\n'
    put(tmp_path, 'variables = ["question", "sources"]\n[en]\nsystem = "{sources}"\nuser = "Q: {question}"\n' + demo)
    messages = load(tmp_path, "greet").render("en", {"question": "X?", "sources": "S"}, [Turn("user", "Hi")])
    assert [m.type for m in messages] == ["system", "human", "ai", "human", "human"]
    assert [m.content for m in messages] == ["S", "<source>\n\nQ: A {b}?", "C [1].", "Hi", "Q: X?"]


def test_a_language_without_a_section_has_the_english_demonstrations(tmp_path: Path) -> None:
    demo = '[[en.demos]]\nquestion = "A?"\nanswer = "B."\n'
    messages = load(put(tmp_path, BODY + demo), "greet").render("fr", {"question": "?"})
    assert [m.content for m in messages] == ["Be brief.", "A?", "B.", "?"]
