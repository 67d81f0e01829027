import doctest
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import glob

_PARTS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def translated(pattern: str) -> str:
    """A pattern as a regular expression: what it means, at the price of going back and forth."""
    return "".join(_PARTS.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(glob).failed == 0


@settings(max_examples=1_500, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aab/*?.\n年"), max_size=8), max_size=3),
    st.lists(st.text(st.sampled_from("ab/.\n年*"), max_size=10), min_size=1, max_size=8),
)
def test_a_path_matches_where_the_regular_expression_does(patterns: list[str], paths: list[str]) -> None:
    matches = glob.matcher(patterns)
    for path in paths:
        assert matches(path) == any(re.fullmatch(translated(p), path, re.DOTALL) for p in patterns)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab*?"), max_size=12), st.lists(st.text("ab", max_size=40), max_size=40))
def test_what_is_forgotten_on_the_way_changes_nothing(pattern: str, paths: list[str]) -> None:
    most, glob._MOST_SETS = glob._MOST_SETS, 3
    try:
        matches = glob.matcher([pattern])
        found = [matches(path) for path in paths]
    finally:
        glob._MOST_SETS = most
    assert found == [re.fullmatch(translated(pattern), path) is not None for path in paths]


@given(st.text(st.sampled_from("ab/*?"), max_size=8), st.text(st.sampled_from("ab/"), max_size=10))
def test_every_path_that_matches_begins_with_the_prefix(pattern: str, path: str) -> None:
    assert not glob.matcher([pattern])(path) or path.startswith(glob.prefix(pattern))


# A matcher that tries one way after the other is at it for longer than anybody lives.
@pytest.mark.parametrize(
    ("pattern", "path"),
    [("'*a' * 300 + 'b'", "'a' * 4000"), ("'**/a' * 300 + 'b'", "'a/' * 2000"), ("'**a' * 300 + 'b'", "'a/' * 2000"),
     ("'*' + '?' * 2000 + 'b'", "'ab' * 2000"), ("'*' * 100_000 + 'b'", "'a' * 4000")],
)  # fmt: skip
def test_no_pattern_goes_back_and_forth(pattern: str, path: str) -> None:
    script = f"from core.glob import matcher; assert not matcher([{pattern}])({path} + 'c')"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, env=os.environ)


@pytest.mark.parametrize("pattern", ["re\u0301sume\u0301/*.md", "r\u00e9sum\u00e9/*.md", "r\u00e9*/*"])
@pytest.mark.parametrize("path", ["re\u0301sume\u0301/a.md", "r\u00e9sum\u00e9/a.md"])
def test_both_forms_of_an_accent_are_one(pattern: str, path: str) -> None:
    assert glob.matcher([pattern])(path)
    assert path.startswith(glob.prefix(pattern))
