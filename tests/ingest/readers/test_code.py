"""Source code: sections by definition, whole text, minified files."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Section
from ingest.readers.code import read_code

CFG = IngestConfig()


def headings(source: str) -> list[tuple[str, ...]]:
    return [section.headings for section in read_code(source.encode(), CFG).sections]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import x\n\n\n@cache\ndef one(a):\n    return a(1)\n\n\nclass Two(A):\n    x = 1\n\n"
         "    async def run(\n        self,\n    ):\n        print(2)\n",
         [(), ("one",), ("Two",), ("Two", "run")]),
        ("package p;\n\npublic final class Foo<T> extends Bar {\n    int x = f(3);\n\n"
         "    public static <T> List<T> add(int a) throws E {\n        if (a > 1) {\n"
         "            return a;\n        }\n    }\n}\n",
         [(), ("Foo",), ("Foo", "add")]),
        ("package main\n\nfunc (s *Server) Run(ctx Context) error {\n\tfor {\n\t}\n}\n\ntype Config struct {\n}\n",
         [(), ("Run",), ("Config",)]),
        ("#include <a.h>\n\nstatic char *name(int a,\n    int b)\n{\n    call(a);\n}\n\nint Foo::bar() const {\n}\n",
         [(), ("name",), ("Foo::bar",)]),
        ("import a from 'b';\nexport const go = async (x: T): Promise<void> => {\n};\n"
         "export default class A {\n  run(): void {\n  }\n}\nit('x', () => {\n});\n",
         [(), ("go",), ("A",), ("A", "run")]),
        ("use a;\n/// doc\n#[test]\npub fn one() {}\nimpl<T> Foo<T> {\n    fn two() {}\n}\n"
         "", [(), ("one",), ("Foo",), ("Foo", "two")]),
        ("set -e\nbuild() {\n  x\n}\nfunction deploy {\n  y\n}\n", [(), ("build",), ("deploy",)]),
        ("-- users\nCREATE TABLE IF NOT EXISTS users (\n  id int\n);\n", [("users",)]),
        ("module A\n  def b?(x)\n  end\nend\n", [("A",), ("A", "b?")]),
        ("f <- function(x) {\n  x\n}\n", [("f",)]),
    ],
    ids=["python", "java", "go", "c", "typescript", "rust", "shell", "sql", "ruby", "r"],
)  # fmt: skip
def test_definitions_of_many_languages_are_headings(source: str, expected: list[tuple[str, ...]]) -> None:
    assert headings(source) == expected


def test_comments_and_decorators_belong_to_what_they_stand_above() -> None:
    document = read_code(b"x = 1\n\n# adds\n@cache\ndef add(a):\n    pass\n", CFG)
    assert document.text[document.sections[1].start :].startswith("# adds\n@cache")


@given(st.text(st.sampled_from("ab (){}:;=<>*&\n\t#@/class def")))
def test_sections_cover_the_text_without_gaps(source: str) -> None:
    document = read_code(source.encode(), CFG)
    covered = "".join(document.text[section.start : section.end] for section in document.sections)
    assert covered.strip() == document.text.strip()
    assert all(isinstance(section, Section) for section in document.sections)


@pytest.mark.parametrize("line", ["a*&" * 95, "a " * 140 + "(", "f(" + "a," * 130, "class " * 45, "pub const " * 28])
def test_no_line_takes_long(line: str) -> None:
    started = time.perf_counter()
    read_code(f"{line}\n".encode() * 200, CFG)
    assert time.perf_counter() - started < 2


def test_minified_code_is_refused_and_one_long_line_is_not() -> None:
    with pytest.raises(ReadError, match="minified"):
        read_code(b"var a=1;" * 2000, CFG)
    assert read_code(b"x = 1\n" * 2000 + b"y = '" + b"a" * 5000 + b"'\n", CFG).text
