import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PromptError
from prompts.load import BUILT_IN, MAX_BYTES, Demo, Prompt, load, parse, versions
from prompts.versions import diff, furnish, names, pack, read_file, same_words, save, take_over, to_toml, unpack
from tests.conftest import ROOT

LIBRARY = ROOT / "prompts" / "library"
GREET = Prompt(
    "greet", 0, "", ("question",), {"en": ("Be brief.", "{question}"), "zh": ("要简短。", "{question}")},
    {"en": (Demo({"question": "Hi?"}, "Hello."),)}, notes="First.",
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


def reread(prompt: Prompt) -> Prompt:
    return parse(to_toml(prompt), prompt.name, prompt.version, "there")


@given(system=TEXT, answer=TEXT, notes=st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_stands_in_a_prompt_is_read_as_it_was_written(system: str, answer: str, notes: str) -> None:
    literal = system.replace("{", "{{").replace("}", "}}")
    told = replace(GREET, parts={"en": (literal, "{question}")}, notes=notes,
                   demos={"en": (Demo({"question": answer}, answer),)})  # fmt: skip
    again = reread(told)
    assert (again.parts, again.demos, again.notes) == (told.parts, told.demos, notes)
    assert [m.content for m in again.render("en", {"question": "?"})] == [system, answer, answer, "?"]


def test_a_library_is_furnished_with_the_prompts_of_the_app_and_keeps_what_it_has(tmp_path: Path) -> None:
    own = tmp_path / "own" / "library"
    (own / "answer").mkdir(parents=True)
    (own / "answer" / "v001.toml").write_bytes(to_toml(GREET))
    furnish(own)
    assert names(own) == names(BUILT_IN)
    assert load(own, "golden") == load(BUILT_IN, "golden")
    assert load(own, "answer", 1).parts == GREET.parts
    with pytest.raises(PromptError, match="cannot be put into"):
        furnish(own / "answer" / "v001.toml" / "library")


@pytest.mark.parametrize("name", names(LIBRARY))
def test_the_library_survives_being_written_anew(name: str) -> None:
    prompt = load(LIBRARY, name)
    assert same_words(reread(prompt), prompt)


def test_a_new_version_gets_the_next_number_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    first = save(tmp_path, GREET)
    before = (tmp_path / "greet" / "v001.toml").read_bytes()
    second = save(tmp_path, replace(GREET, parent=first.label, notes="Second."))
    assert (first.label, second.label, second.parent) == ("greet/v001", "greet/v002", "greet/v001")
    assert (tmp_path / "greet" / "v001.toml").read_bytes() == before
    assert [file.name for file in sorted((tmp_path / "greet").iterdir())] == ["v001.toml", "v002.toml"]


def test_versions_that_are_saved_at_once_never_overwrite_each_other(tmp_path: Path) -> None:
    texts = [f"Text {n}." for n in range(12)]
    threads = [
        threading.Thread(target=save, args=(tmp_path, replace(GREET, parts={"en": (text, "{question}")}, demos={})))
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions(tmp_path, "greet") == list(range(1, 13))
    assert sorted(load(tmp_path, "greet", n).parts["en"][0] for n in range(1, 13)) == sorted(texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../greet"}, "cannot name"),
        ({"name": "x" * 65}, "cannot name"),
        ({"parts": {"en": ("{question.__class__}", "{question}")}}, "not the plain name"),
        ({"parts": {"en": ("{question!r}", "{question}")}}, "not the plain name"),
        ({"parts": {"en": ("{question:999999999}", "{question}")}}, "not the plain name"),
        ({"parts": {"en": ("{question[0]}", "{question}")}}, "not the plain name"),
        ({"parts": {"en": ("{}", "{question}")}}, "not the plain name"),
        ({"parts": {"en": ("{tone}", "{question}")}}, "declares"),
        ({"parts": {"en": ("x" * MAX_BYTES, "{question}")}}, "longer than 256 KiB"),
        ({"parts": {"en": ("\ud800", "{question}")}}, "surrogate"),
        ({"parts": {"zh": ("x", "{question}")}}, "section is missing"),
        ({"demos": {"en": (Demo({}, "x"),)}}, "must have answer, question"),
        ({"demos": {"en": (Demo({"question": "x", "tone": "x"}, "x"),)}}, "must have answer, question"),
        ({"demos": {"en": (Demo({"question": "x"}, " "),)}}, "must have answer, question"),
        ({"demos": {"en": (Demo({"question": "x"}, "x"),) * 33}}, "at most 32"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_written(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        save(tmp_path, replace(GREET, **change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_library_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PromptError, match="cannot be written") as error:
            save(tmp_path, GREET)
    finally:
        tmp_path.chmod(stat.S_IRWXU)
    assert "prompts.library" in error.value.hint


def test_two_versions_differ_by_section(tmp_path: Path) -> None:
    one = save(tmp_path, GREET)
    two = save(tmp_path, replace(GREET, parts={"en": ("Be brief.\nBe kind.", "{question}"), "zh": GREET.parts["zh"]}))
    assert diff(one, two) == {
        "en.system": "--- greet/v001\n+++ greet/v002\n@@ -1 +1,2 @@\n Be brief.\n+Be kind."
    }  # fmt: skip
    assert diff(one, one) == {}
    three = save(tmp_path, replace(GREET, demos={}))
    assert list(diff(one, three)) == ["en.demos"]


def test_a_pack_carries_versions_and_their_parents_into_another_library(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    one = save(here, GREET)
    two = save(here, replace(GREET, parts={"en": ("Be kind.", "{question}")}, demos={}, parent=one.label))
    save(there, replace(GREET, parts={"en": ("Own.", "{question}")}, demos={}))
    file = tmp_path / "pack.toml"
    file.write_text(pack([two, one]), "utf-8")
    found = take_over(there, read_file(file))
    assert [(prompt.label, new) for prompt, new in found] == [("greet/v002", True), ("greet/v003", True)]
    assert found[1][0].parent == "greet/v002"  # what was v001 there
    assert same_words(found[1][0], two)
    assert [(prompt.label, new) for prompt, new in take_over(there, read_file(file))] == [
        ("greet/v002", False), ("greet/v003", False)
    ]  # fmt: skip


def test_a_single_version_is_named_by_its_file_or_as_told(tmp_path: Path) -> None:
    file = tmp_path / "greet-v007.toml"
    file.write_bytes(to_toml(GREET))
    assert [prompt.name for prompt in (*read_file(file), *read_file(file, "hello"))] == ["greet", "hello"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts = []\n", "not a pack"),
        ("prompts = [1]\n", "must hold name, version and text"),
        ('[[prompts]]\nname = "../x"\nversion = 1\ntext = "x"\n', "cannot name"),
        ('[[prompts]]\nname = "x"\nversion = 0\ntext = "x"\n', "must hold"),
        ('[[prompts]]\nname = "x"\nversion = true\ntext = "x"\nmore = 1\n', "must hold"),
        ('[[prompts]]\nname = "x"\nversion = 1\ntext = "[en]\\nsystem = 1\\nuser = 2"\n', "must be strings"),
        ('[[prompts]]\nname = "x"\nversion = 1\ntext = "variables = 3"\n', "must be a list of names"),
        ("a = [" * 20_000, "not valid TOML"),
        ("[en]\nsystem = 'x'\n", "system and user"),
    ],
)
def test_a_hostile_pack_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    good = pack([replace(GREET, version=1)]) if text.startswith("[[") else ""
    with pytest.raises(PromptError, match=message):
        take_over(tmp_path, unpack((good + text).encode(), "x", "pack.toml"))
    assert list(tmp_path.iterdir()) == []
