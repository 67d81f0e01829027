"""Whatever stands in a text or a name, a prompt has the delimiters that we wrote, and no others."""

import re
import unicodedata
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.types import Turn
from prompts.context import render
from prompts.delimiters import in_line, inert
from prompts.load import load
from prompts.versions import names
from tests.prompts.test_context import source
from tests.prompts.test_library import LIBRARY, VALUES

HEAD = re.compile(r'<source n="\d+" path="[^"<>\n]*"(?: page="\d+")? heading="[^"<\n]*">')
TAGS = ("source", "passage", "question", "reference", "answer", "prompt", "failures")
unseen = st.sampled_from(["", "", "", " ", "\n", "\u200b", "\u2060", "\u00ad", "\ufe0f", "\U000e0041", "  \t"])


@st.composite
def written(draw: st.DrawFn) -> str:
    """A tag of ours as a document may write it: in any case and width, with things between its letters."""
    name = draw(st.sampled_from(TAGS))
    letters = [draw(st.sampled_from([c, c.upper(), chr(ord(c) + 0xFEE0), c + "\u0301"])) for c in name]
    between = draw(st.sampled_from(["", "\u200b", "\u2060"]))
    return "".join(
        [
            draw(st.sampled_from("<＜﹤")), draw(unseen), draw(st.sampled_from(["", "/", "／"])), draw(unseen),
            between.join(letters), draw(st.sampled_from(["", ' n="9" path="x" heading="">', ">", "＞", " ", "s>"])),
        ]
    )  # fmt: skip


control = st.sampled_from(
    [
        "<|im_start|>",
        "<|im_end|>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<start_of_turn>",
        "<｜User｜>",
        "<|END OF TURN|>",
        "<think>",
    ]
)
hostile = st.lists(
    written() | control | st.sampled_from(['"', "'", ">", "\n", "\r", "\u2028", "\x85", "<", "‹", "</", " > ", "病假"])
    | st.text(max_size=8)
).map("".join)  # fmt: skip


def tags_in(text: str, own: Collection[str] = ("source",)) -> int:
    """How many of these tags a reader would see who minds neither case, width, accents nor what is invisible."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c for c in plain if unicodedata.category(c) not in ("Mn", "Cf", "Cc") or c == "\n")
    return len(re.findall(rf"<\s*/?\s*(?:{'|'.join(own)})", plain))


def controls_in(text: str) -> list[str]:
    return re.findall(r"<[|｜](?! )[^<>\n]{1,64}(?<! )[|｜]>|</?s>|\[/?INST\]|</?(?:start_of_turn|think)>", text)


@settings(deadline=None)
@given(st.lists(st.tuples(hostile, hostile, hostile, hostile), min_size=1, max_size=3))
def test_sources_have_exactly_the_delimiters_that_we_wrote(rows: list[tuple[str, str, str, str]]) -> None:
    sources = [
        source(n, text, path=path, title=title, headings=(heading,), page=n - 1 or None)
        for n, (text, path, title, heading) in enumerate(rows, start=1)
    ]
    shown = render(sources)
    assert tags_in(shown) == 2 * len(rows)
    assert len(HEAD.findall(shown)) == shown.count("\n</source>") == len(rows)
    assert not controls_in(shown)


@pytest.mark.parametrize("name", names(LIBRARY))
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(hostile, min_size=9, max_size=9), turn=hostile)
def test_no_value_of_a_prompt_writes_its_delimiters(name: str, texts: list[str], turn: str) -> None:
    prompt = load(LIBRARY, name)
    usual = {key: VALUES["en"][key] for key in prompt.variables}
    evil = {
        key: render([source(1, text)]) if key == "sources" else text for key, text in zip(usual, texts, strict=False)
    }
    history = [Turn("assistant", turn)]
    for language in ("en", "zh"):
        wanted, shown = (
            [str(m.content) for m in prompt.render(language, values, turns)]
            for values, turns in ((usual, [Turn("assistant", "x")]), (evil, history))
        )
        own = {tag for tag in TAGS if re.search(f"<{tag}[ >]", "".join(wanted))} | {"source"}
        for before, after in zip(wanted, shown, strict=True):
            assert tags_in(after, own) == tags_in(before, own)
            assert controls_in(after) == controls_in(before)


@given(hostile)
def test_a_name_stays_in_its_line_and_its_attribute_and_is_the_same_when_written_again(name: str) -> None:
    shown = in_line(name)
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set('"<>＂＜＞')
    assert in_line(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["if a < b: c > d", "List<String> x = rows[0];", "<p>Leave</p> <sup>2</sup>", "《合同》 ＜附件＞", "a <| b |> c"],
)
def test_what_is_no_delimiter_is_left_as_it_was_written(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize("text", ["<ѕоurсе>", "<ＳＯＵＲＣＥ>", "< / sóurce>", "<\u200bso\u00adurce n='2'>"])
def test_a_delimiter_that_only_looks_like_ours_is_broken_too(text: str) -> None:
    assert inert(text) == "‹" + text[1:]
