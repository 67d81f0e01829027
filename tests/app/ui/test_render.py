"""What documents and models wrote is inert in the browser: checked on the HTML that a Markdown parser makes of it."""

import html
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from app.ui.render import evidence, plain, safe_markdown, shown_answer
from core.types import Answer, Candidate, Citation, Hit, Place, Query, Source, Trace
from prompts.support import statements


def html_of(text: str) -> str:
    """A permissive Markdown parser's HTML: raw HTML passes, and so does every kind of address."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.validateLink = lambda url: True
    return parser.render(safe_markdown(text))


def source(text: str, n: int = 1, path: str = "a.md", page: int | None = None, title: str = "") -> Source:
    hit = Hit(
        rank=n, score=0.5, chunk_id=n, folder="/d", path=path, title=title, page=page, headings=("Leave",), start=0,
        end=len(text), text=text, language="en", ordinal=0, document_id=1, dense_rank=2, lexical_rank=1,
    )  # fmt: skip
    return Source(n, hit, text)


@pytest.mark.parametrize(
    "text",
    [
        "<script>window.pwned=1</script>",
        "<img src=x onerror=alert(1)>",
        "<IMG SRC=//evil.example/x.png>",
        "<a href='http://evil.example'>x</a>",
        "![x](http://evil.example/x.png)",
        "![](//evil.example/x.png)",
        "![x][pic]\n\n[pic]: http://evil.example/x.png",
        "![pic]\n\n[pic]: <http://evil.example/x.png> 'title'",
        "[x](http://evil.example)",
        "[x](<http://evil.example>)",
        "[x]( javascript:alert(1) )",
        "[x](http://evil.example/a(b)c 'title')",
        "[x](\nhttp://evil.example\n)",
        "[a ![b](http://evil.example/x.png) c](http://evil.example)",
        "[x][home]\n\n[home]: http://evil.example",
        "[home]\n\n   [home]: http://evil.example",
        "[home]\n\n[home]:\nhttp://evil.example",
        "[home]\n\n> [home]: http://evil.example",
        "[home]\n\n- [home]: http://evil.example",
        "[ho\nme]\n\n[ho\nme]: http://evil.example",
        "[ho\\]me]\n\n[ho\\]me]: http://evil.example",
        "[1]\n\n[1]: http://evil.example",
        "[x][1]\n\n[1]: http://evil.example",
        "<http://evil.example>",
        "<someone@evil.example>",
        "&lt;http://evil.example&gt;",
        '[x](#source-1" onclick="alert(1))',
        "[x](#source-1 'title')(http://evil.example)",
        "[x](#source-http://evil.example)",
        "[![x](#source-1)](http://evil.example)",
        "\\[x](http://evil.example)",
        "![x\\](http://evil.example/x.png)",
        "!\\[x](http://evil.example/x.png)",
        "25 days![1](http://evil.example/x.png)",
        "\\`[x](http://evil.example)\\`",
        "\\`<img src=x onerror=alert(1)>\\`",
        "` a\n\n<img src=x onerror=alert(1)> `",
        "    ```\n<img src=x onerror=alert(1)>\n\n[x](http://evil.example)",
        "- a\n ```\n<script>alert(1)</script>",
        "`\n<script>alert(1)</script>`",
        "\\<script>alert(1)</script>",
        "$$<img src=x onerror=alert(1)>$$",
        "\\[\n![x](http://evil.example/x.png)\n\\]",
        "\\(<script>alert(1)</script>\\) $x^2<img src=x>$",
        "$\\a [x](http://evil.example)$",
        "`$$` <img src=x onerror=alert(1)> `$$`",
        "$$ `<img src=x onerror=alert(1)>` $$ `<b>`",
    ],
)
def test_nothing_a_model_writes_becomes_a_tag_an_image_or_a_link(text: str) -> None:
    shown = html_of(text)
    allowed = r"</?(?:p|em|strong|code|pre|ul|ol|li|blockquote|br|h[1-6])(?: /)?>"
    rest = re.sub(r'<a href="#source-\d{1,3}">\[\d{1,3}\]</a>', "", re.sub(allowed, "", shown))
    assert not re.search(r"<\s*/?\s*[a-z!]", rest, re.IGNORECASE), shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (r"so \[E = mc^2\] holds", "so $$E = mc^2$$ holds"),
        (r"\(a<b\) and $x_1$, $n$", r"\(a\lt b\) and \(x_1\), \(n\)"),
        ("$$\nx[1](2)\n$$", "$$\nx[1] (2)\n$$"),
        ("it costs $5, not $6_000 [1]", r"it costs $5, not $6_000 [\[1\]](#source-1)"),
        ("`$x_1$` and US$5", "<code>&#36;x&#95;1&#36;</code> and US$5"),
        (r"cut off \[x", r"cut off \[x"),
        (r"$$\rule{1em}{2.5em}$$", r"$$\rule{1em}{2.5em}$$"),
        (r"$$\rule{1em}{9999em}$$", "$\u2060$\\rule{1em}{9999em}$\u2060$"),
        (r"\(\def\a{\a\a}\a\)", "\\\u2060(\\def\\a{\\a\\a}\\a\\\u2060)"),
    ],
)
def test_formulas_are_known_by_their_signs_and_prices_are_none(written: str, shown: str) -> None:
    assert safe_markdown(written) == shown


@pytest.mark.parametrize(
    "text", ["see http://evil.example/?q=1", "www.evil.example", "Ftp://evil.example", "a@b.example"]
)
def test_a_bare_address_does_not_become_a_link(text: str) -> None:
    address = r"(?i)(?:https?|ftp)://|www\.|\w@\w"  # what GitHub's Markdown, which the chat speaks, makes a link of
    assert not re.search(address, safe_markdown(text))
    assert html.unescape(html_of(text)).strip() == f"<p>{text}</p>"


def test_marks_lead_to_their_passage() -> None:
    shown = html_of("Twenty days [1], thirty for some [2][13].")
    for n in (1, 2, 13):
        assert f'<a href="#source-{n}">[{n}]</a>' in shown


def test_only_citations_lead_somewhere() -> None:
    shown = safe_markdown("See args[0], `x[1]`, Meyer [27] and 资料[1], not [3].", {1: "Meyer [27]"})
    assert re.findall(r"\(#[^)]*\)", shown) == ["(#source-1)"]
    assert "args[0]" in shown
    assert "Meyer [27]" in shown
    assert "(#" not in safe_markdown("What is [1]?", {})


def test_code_in_lists_and_quotes_is_shown_where_it_stands() -> None:
    shown = html_of("1. do\n   ~~~sh\n   curl http://a.example\n   ~~~\n2. then\n\n> ```\n> a[0]\n> ```")
    seen = html.unescape(shown)
    assert '<pre><code class="language-sh">curl http://a.example\n</code></pre>' in seen
    assert seen.index("<li>") < seen.index("curl") < seen.index("then") < seen.index("<blockquote>")
    assert "<blockquote>\n<pre><code>a[0]\n</code></pre>" in seen


def test_ordinary_markdown_and_text_stay() -> None:
    shown = html_of("**Twenty** days:\n\n- a < b & c\n- `x[0]`\n\n第二条 年假为二十天。")
    assert "<strong>Twenty</strong>" in shown
    assert shown.count("<li>") == 2
    assert "a &lt; b &amp; c" in shown
    assert "第二条 年假为二十天。" in shown


@pytest.mark.parametrize(
    "text",
    [
        "假期为**五天（工龄满一年）**的规定",
        "**注意：**须在月底前提交",
        "应当**“提前三十天”**通知",
        "见**《员工手册》**第三条",
        "**有（带薪）的**，以及*无（不带薪）*的",
        "用**`leave_days`**的值",
        "休假は**「五日」**です",
        "**共十五天。**[1]其中五天",
    ],
)
def test_emphasis_in_text_without_spaces_opens_and_closes_beside_punctuation(text: str) -> None:
    shown = html_of(text)
    assert "*" not in shown
    assert shown.count("<strong>") + shown.count("<em>") == len(re.findall(r"\*+", text)) // 2
    assert plain(safe_markdown(text)) == text


@pytest.mark.parametrize("text", ["2*3*4，3 * 4", r"长\*（宽）", "**bold (English)**text", "- （一） *\n- 二"])
def test_stars_that_are_no_emphasis_stay(text: str) -> None:
    assert "\u2060" not in safe_markdown(text)


def test_code_is_shown_as_it_was_written() -> None:
    shown = html_of('Run `x[0] = curl <url> > out && a < b`:\n\n```\nif a <= b: x = y["k"] + z[1]\n\n[x](y) &amp;\n```')
    seen = html.unescape(shown).replace("\u2060", "")
    assert "<code>x[0] = curl <url> > out && a < b</code>" in seen
    assert '<pre><code>if a <= b: x = y["k"] + z[1]\n\n[x](y) &amp;\n</code></pre>' in seen


@pytest.mark.parametrize(
    "text",
    [
        "Twenty days [1][2], `x[0]` and <b> at http://a.example, a@b.example ![x](y)",
        "```\n<b>[x](y)\n```\n第二条 [3]。",
        "```python\nx = `a` & &amp;\n```",
        "see ``a`b`` and `<b>`",
        "a < b & c",
    ],
)
def test_a_model_is_told_what_it_said_not_how_it_was_shown(text: str) -> None:
    assert safe_markdown(text) != text or text == "a < b & c"
    assert plain(safe_markdown(text)) == text


def test_evidence_escapes_everything_a_document_says() -> None:
    evil = "<img src=x onerror=alert(1)>"
    shown = evidence([source(f"leave {evil}", path=f"{evil}.md", title=evil)], f"leave {evil}", "en")
    assert "<img" not in shown
    assert shown.count("&lt;img") >= 3  # text and title, with words marked in between or not, and path
    assert "onerror=alert(1)&gt;" in shown


def test_what_turns_the_order_of_characters_round_does_not_reach_what_stands_behind_it() -> None:
    assert safe_markdown("pay \u202e001\u202c now [1]") == r"pay 001 now [\[1\]](#source-1)"
    shown = evidence([source("pay \u202e001 now", path="bill\u202efdp.md")], "pay", "en")
    assert "<mark>pay</mark> 001 now" in shown
    assert "<bdi>bill\u202efdp.md</bdi>" in shown


def test_a_page_of_the_web_is_named_by_its_address_and_linked_and_nothing_else_is() -> None:
    def shown(folder: str) -> str:
        one = source("text")
        return evidence([replace(one, hit=replace(one.hit, folder=folder))], "leave", "en")

    address = 'https://example.org/a?b=1&c="><script>x'
    page = shown(address)
    assert f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">' in page
    assert "<script" not in page
    assert f"<bdi>{html.escape(address)}</bdi>" in page
    for other in ("/d", "s3://papers/2026", "javascript:alert(1)//https://x", " https://x", "data:text/html,x"):
        assert "<a " not in shown(other)
        assert "<bdi>a.md</bdi>" in shown(other)


def test_evidence_marks_the_words_of_the_question() -> None:
    shown = evidence([source("Annual leave is 25 days, leaves may be moved.")], "annual leave", "en")
    marked = re.findall(r"<mark>(.*?)</mark>", shown)
    assert "".join(marked).replace(" ", "").startswith("Annualleave")
    assert "25" not in "".join(marked)


def test_evidence_marks_the_words_of_a_chinese_question_in_either_script() -> None:
    for text in ("员工每年享有年假二十五天。", "員工每年享有年假二十五天。"):
        shown = evidence([source(text)], "年假有几天", "zh")
        assert "年假" in "".join(re.findall(r"<mark>(.*?)</mark>", shown))
        assert "员工" not in "".join(re.findall(r"<mark>(.*?)</mark>", shown))
        assert re.sub(r"</?mark>", "", shown).count(text) == 1


def test_evidence_names_path_page_scores_and_puts_what_is_cited_first() -> None:
    shown = evidence([source("one", 1), source("two", 2, path="b.pdf", page=3)], "one", "zh", cited={2})
    assert shown.index('id="source-2"') < shown.index('id="source-1"')
    assert "b.pdf" in shown
    assert "第 3 页" in shown
    assert "已引用" in shown
    assert "0.500" in shown
    assert "词语 #1" in shown
    assert "p. 3" in evidence([source("two", 2, page=3)], "one", "en")


def test_evidence_marks_what_an_answer_has_from_its_source_in_its_own_words_or_others() -> None:
    said = "Annual leave is 25 days [1]. Sick staff bring a certificate after three days [1]."
    one = source("Annual leave is 25 days. Sick leave needs a certificate after three days. Ask Ann.", path="leave.md")
    cited = (Citation(1, "leave.md", None, "Annual leave is 25 days."),)
    answer = Answer(said, True, cited, (one,), "openai", "m", "leave", 1.0)
    shown = evidence([one], "leave", "en", {1}, answer=answer)
    flat = re.sub(r"<mark>(.*?)</mark>", r"\1", shown)
    assert "".join(re.findall(r'<mark class="rs-quoted">(.*?)</mark>', flat)) == (
        "Annual leave is 25 days.Sick leave needs a certificate after three days."
    )


def test_without_passages_the_panel_says_what_will_be_there() -> None:
    assert "appear here" in evidence((), "", "en")
    assert "显示在这里" in evidence((), "", "zh")


def test_how_it_was_found_lists_wordings_places_and_what_was_lost_and_is_inert() -> None:
    evil = "<img src=x onerror=alert(1)>"
    places = (Place(0, "lexical", 4, 7.5), Place(1, "lexical", 1, 9.0))
    trace = Trace(
        (Query("leave"), Query(f"holiday {evil}", "variant")),
        (
            Candidate(1, f"{evil}.md", 3, 0, places, 0.75, 0.9, 1),
            Candidate(2, "b.md", None, 1, (Place(0, "dense", 2, 0.5),), 0.25, dropped="older version"),
        ),
        (("fuse", 1.5),),
        (f"late {evil}",),
    )
    shown = evidence([source("leave")], "leave", "zh", (), trace)
    assert "<img" not in shown
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", shown)]
    assert [row[0] for row in rows] == ["1", "未采用：旧版本"]
    assert rows[0][2:] == ["#4", "", "0.750", "0.900"]
    assert rows[1][2:] == ["", "#2", "0.250", ""]
    assert "holiday &lt;img" in shown
    assert "融合 1.5 ms" in shown
    assert "rs-trace" not in evidence([source("leave")], "leave", "en")


def test_an_answer_that_is_edited_holds_no_signs_and_no_ways_to_its_versions() -> None:
    said = "Leave is 25 days [1]. Cats fly [1]."
    sources = [source("Leave is 25 days.")]
    shown = shown_answer(said, statements(said, "", sources), "en", 12, sources)
    assert "rs-supported" in shown
    assert "rs-unsupported" in shown
    assert plain(f'{shown}\n\nanswer [‹](#turn-12--1 "earlier") 1/2 [›](#turn-12-1 "later")') == said


def test_files_of_a_chat_are_named_as_such_and_shown_by_its_own_address() -> None:
    chat = "0123456789abcdef" * 2
    one = source("Eleven weeks.", 7, "lease.pdf", page=2)
    one = replace(one, hit=replace(one.hit, kb=chat))
    rows = (Candidate(7, f"{chat}/lease.pdf", 2, 0, (), 0.5), Candidate(8, "work/a.md", None, 0, (), 0.4))
    trace = Trace((Query("weeks"),), rows, ((f"{chat}: fuse", 1.0), ("work: fuse", 1.0)))
    shown = evidence((one,), "weeks", "en", (), trace)
    assert f'src="chats/{chat}/view/7.png"' in shown
    assert "files of this chat/lease.pdf" in shown
    assert "files of this chat: fuse" in shown
    assert "work/a.md" in shown
    assert "本对话的文件/lease.pdf" in evidence((one,), "weeks", "zh", (), trace)
