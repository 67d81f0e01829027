"""On which knowledge base a version rests, and what follows from that for the library."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import PromptError
from prompts.load import BUILT_IN, Demo, Prompt, load
from prompts.resting import check_for, inherited, is_of, mark, open_to, resting
from prompts.versions import furnish, names, remove, same_words, save, to_toml

SECRET = "5ec" * 10
SHOWN = Prompt(
    "greet", 0, "", ("question",), {"en": ("Be brief.", "{question}")}, {"en": (Demo({"question": "Hi?"}, "Hello."),)}
)


def test_what_came_with_the_app_rests_on_nothing_in_a_library_from_before_too(tmp_path: Path) -> None:
    furnish(tmp_path)
    assert {name: resting(load(tmp_path, name)) for name in names(tmp_path)} == dict.fromkeys(names(BUILT_IN), "")
    edited = replace(load(tmp_path, "answer-few-shot"), parts={"en": ("{sources}", "{question}")}, variables=())
    assert resting(edited) == ""


def test_demonstrations_that_say_nothing_are_nobodys_and_what_is_said_is_read_again(tmp_path: Path) -> None:
    assert resting(SHOWN) is None
    assert resting(replace(SHOWN, demos={})) == ""
    told = save(tmp_path, replace(SHOWN, rests_on=mark(SECRET, tmp_path)))
    assert (resting(told), is_of(told, tmp_path), is_of(told, tmp_path / "other")) == (SECRET, True, False)
    assert load(tmp_path, "greet") == told
    assert not same_words(told, SHOWN)


def test_the_newest_is_the_newest_of_those_that_count(tmp_path: Path) -> None:
    first = save(tmp_path, replace(SHOWN, demos={}))
    second = save(tmp_path, replace(SHOWN, rests_on=SECRET))
    assert load(tmp_path, "greet", 0, open_to("other")) == first
    assert load(tmp_path, "greet", 1, open_to("other")) == first
    assert load(tmp_path, "greet", 0, open_to(SECRET)) == second
    with pytest.raises(PromptError, match=r"no version 2 \(there: 1\)"):
        load(tmp_path, "greet", 2, open_to("other"))
    with pytest.raises(PromptError, match="another knowledge base than 'hr'"):
        check_for(second, "other", "hr")
    assert check_for(second, SECRET, "secret") == second
    (tmp_path / "greet" / "v001.toml").write_text("damaged", "utf-8")
    assert load(tmp_path, "greet", 0, open_to(SECRET)) == second
    with pytest.raises(PromptError, match="not valid TOML"):
        load(tmp_path, "greet", 0, open_to("other"))


def test_a_version_rests_on_what_its_parent_does_unless_it_says_otherwise(tmp_path: Path) -> None:
    parent = save(tmp_path, replace(SHOWN, rests_on=SECRET))
    child = replace(SHOWN, demos={}, parent=parent.label)
    assert resting(inherited(tmp_path, child)) == SECRET
    assert resting(inherited(tmp_path, replace(child, rests_on=""))) == ""
    assert resting(inherited(tmp_path, replace(child, parent="gone/v001"))) == ""


def test_a_removed_version_leaves_no_text_and_its_number_is_not_given_again(tmp_path: Path) -> None:
    save(tmp_path, SHOWN)
    remove(tmp_path, save(tmp_path, replace(SHOWN, notes="marker-77")))
    assert save(tmp_path, SHOWN).version == 3
    assert not any("marker-77" in file.read_text("utf-8") for file in tmp_path.rglob("*") if file.is_file())


def test_what_is_no_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "greet").mkdir()
    raw = to_toml(replace(SHOWN, rests_on="x")).replace(b'rests_on = "x"', b'rests_on = "../x"')
    (tmp_path / "greet" / "v001.toml").write_bytes(raw)
    with pytest.raises(PromptError, match="`rests_on` is no id"):
        load(tmp_path, "greet")
