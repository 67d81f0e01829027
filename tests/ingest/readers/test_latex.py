"""LaTeX: the text that is set."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes


def read(source: str) -> Document:
    return read_bytes("x.tex", source.encode(), IngestConfig())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"50\% of \textbf{120~\euro{}} \& more", "50% of 120 € & more"),
        ("a % hidden\nb \\% shown", "a b % shown"),
        (r"``Quoted'' --- caf\'e, G\"{o}ttingen, pages 3--5", "“Quoted” — café, Göttingen, pages 3–5"),
        (r"28\footnote{working days} days", "28 [working days] days"),
        (r"\newcommand{\company}{Acme GmbH}At \company{} we", "At Acme GmbH we"),
        (r"\href{http://a.b}{the page}\label{x}", "the page (http://a.b)"),
        (r"where $x^2 + y_1 \le 5\%$ holds", r"where $x^2 + y_1 \le 5\%$ holds"),
        ("年假\n五天", "年假五天"),
        ("\\begin{comment}no\\end{comment}yes", "yes"),
        (r"\vspace{1cm}one\\two", "one\ntwo"),
        (r"\verb|a_b % c|", "a_b % c"),
    ],
)
def test_commands_are_out_of_the_way(source: str, text: str) -> None:
    assert read(source).text == text


def test_headings_lists_and_what_stands_around_the_document() -> None:
    document = read(
        "\\documentclass{article}\\usepackage{x}\\title{Travel \\emph{rules}}\n\\begin{document}\n"
        "\\section{Hotels \\& trains}\nText.\n\\subsection*{Deep}\n"
        "\\begin{enumerate}\\item One\\begin{itemize}\\item inner\\end{itemize}\\item Two\\end{enumerate}\n"
        "\\begin{description}\\item[Term] meaning\\end{description}\n\\end{document} junk"
    )
    assert document.title == "Travel rules"
    assert document.text == ("Travel rules\n\nHotels & trains\nText.\n\nDeep\n1. One\n- inner\n2. Two\n- Term: meaning")
    assert [s.headings for s in document.sections] == [(), ("Hotels & trains",), ("Hotels & trains", "Deep")]


def test_a_table_has_its_merged_cells_and_code_stays_as_it_is() -> None:
    document = read(
        "\\begin{table}\\caption{Rates}\\begin{tabular}{l|rr}\\toprule\nCity & Rate & Max \\\\ \\midrule\n"
        "\\multirow{2}{*}{Bonn} & 40\\% & 50 \\\\ % note\n & 41 & 51 \\\\\nUlm & \\multicolumn{2}{c}{none} \\\\\n"
        "\\end{tabular}\\end{table}\n\\begin{verbatim}\nif (a % 2) { x }\n\\end{verbatim}"
    )
    assert document.text == (
        "Rates\n\n| City | Rate | Max |\n| --- | --- | --- |\n| Bonn | 40% | 50 |\n| Bonn | 41 | 51 |\n"
        "| Ulm | none | none |\n\nif (a % 2) { x }"
    )
    assert document.tables == 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["\\", "{", "}", "$", "%", "&", "\n", "[", "]", "\\item", "\\begin{tabular}",
                                 "\\end{tabular}", "\\section", "\\multirow{2}", "\\verb|", "word", " "]),
                max_size=30))  # fmt: skip
def test_no_source_is_refused_or_loses_its_last_words(pieces: list[str]) -> None:
    assert "last words" in read("first words\n\n" + "last words" + "".join(pieces)).text
