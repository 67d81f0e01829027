"""Answers and passages as the browser may show them: whatever documents and models wrote is inert."""

import html
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from app.answering.view import has_picture
from app.messages.errors_zh import says
from app.messages.texts import TEXTS, Tongue, timed, version_notes
from app.running.chat_folders import ID, is_chat
from app.ui.passage import TURNS_ROUND, laid_out, quotes_of
from core.text import keywords
from core.types import Answer, Candidate, Hit, Source, Trace
from prompts.context import bodies, without_marks
from prompts.context import quote as context_quote
from prompts.marks import pieces, spans
from prompts.support import OWN, Statement, statements

_DISPLAY: dict[str, Any] = {"left": "$$", "right": "$$", "display": True}
_INLINE: dict[str, Any] = {"left": "\\(", "right": "\\)", "display": False}
LATEX = [_DISPLAY, _INLINE]
_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]++)\$\$|\\\[(?P<brackets>(?:(?!\\[][]).)++)\\\]|\\\((?P<inline>(?:(?!\\[()])[^\n])++)\\\)"
    r"|(?<![\w$\\])\$(?! )(?P<dollars>[A-Za-z]|(?=[^$\n\\^_{]*+[\\^_{])[^$\n]++)(?<! )\$(?![\w$])",  # not "$5 and $7"
    re.DOTALL,
)
_OPENS = re.compile(r"[<`]|~{3,}|!(?=\[|\Z)|(?<=\])[(:]|:(?=//)|(?<=www)\.|@|\\\Z", re.IGNORECASE)
_OPENS_IN_CODE = re.compile(r"[^\w ,;/?=%{}+.'\"()-]|_|(?<=www)\.", re.IGNORECASE)
_OPENS_IN_LATEX = re.compile(r"!(?=\[)|(?<=\])(?=[(:])|:(?=//)|(?<=www)(?=\.)|@", re.IGNORECASE)
_VAST = re.compile(  # LaTeX that may ask for a mile of space, or that defines what might
    r"\\(?:rule|raisebox|m?kern|[hm]skip|hspace|above|genfrac)(?![a-z]).*?\d{3}|\\\\\s*\[[^\]]*\d{3}"
    r"|\\(?:[gex]?def|let|(?:re)?newcommand|providecommand)(?![a-z])",
    re.DOTALL,
)
_SHOWN_CODE = re.compile(r'<pre><code(?: class="language-([\w+#.-]+)")?>([^<]*)</code></pre>|<code>([^<]*)</code>')
_INFO = re.compile(r"[`~]+[ \t]*([\w+#.-]*)")
_SHOWN_MARK = re.compile(r"\[\\\[(\d{1,3})\\\]\]\(#source-(?:\d+-)?\1\)")
_SIGN = re.compile(r'<sup class="rs-(?:un)?supported"[^>]*></sup>|\n\n[^\n]*\(#turn-[^\n]*')  # none of it was said
_HELD, _BARE = "\ue000", "\ue001"  # stand behind a statement until what was written is inert
_SIGNS = (_HELD, _BARE)
_NO_SIGNS = {ord(_HELD): None, ord(_BARE): None}
_NO_TRACE = Trace()
_OF_CHAT = re.compile(rf"\b{ID}(?=/|: )")  # how the files of a conversation are called among knowledge bases
_TRACED = 20  # candidates that are shown
_WORD_JOINER = "\u2060"  # is not seen
_STARS = re.compile(r"(?<=([^\s*\\]))\*+(?=([^\s*]))")
_WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")


def safe_markdown(text: str, known: Mapping[int, str] | None = None) -> str:
    """Model output as Markdown without HTML, images or links but ours: a citation leads to its passage.

    Remote images and links in an answer could carry what was read to another host, so none is left: what would open
    one is written as an entity, and so is shown as it was written. Code becomes elements of ours, in which all that
    means something in Markdown is an entity, line ends included: whatever the browser takes for code, no part of what
    it is given holds an address. In LaTeX a space does. Formulas are between the signs of `LATEX`, whatever they were
    written between; a vast one is shown as text. What would show the characters behind it in another order is left out.

    `known` are the passages that a citation may point to, by number; None: any number is one's.
    """
    text = text.translate(TURNS_ROUND)
    places = [place for place, character in enumerate(text) if character not in _SIGNS]
    marks = {}
    for start, end, numbers in spans("".join(text[place] for place in places), known):
        marks[places[start]] = (places[end - 1] + 1, numbers)
    shown = []
    for kind, start, end in _segments(text):
        if kind == "text":
            shown.append(_inert(text, start, end, marks))
        elif kind == "formula":
            formula = _FORMULA.fullmatch(text[start:end])
            shown.append(_formula(formula) if formula else _inert(text, start, end, {}))
        else:
            shown.append(_code(text[start:end].translate(_NO_SIGNS), kind == "block"))
    return _STARS.sub(_emphasis, "".join(shown))


def _segments(text: str) -> Iterator[tuple[Literal["text", "formula", "code", "block"], int, int]]:
    """What of a text is code, a formula, or neither, in order."""
    start = at = 0
    block: int | None = None
    for piece in pieces(text, {}):
        end = at + len(piece.text)
        if piece.kind in ("code", "fence") and block is None:
            yield from _formulas(text, start, at)
            start = at
        if piece.kind == "code":
            yield "code", at, end
            start = end
        elif piece.kind == "fence" and block is None:
            block = at
        elif piece.kind == "fence":
            yield "block", start, end
            start, block = end, None
        at = end
    if block is not None:
        yield "block", start, at
    else:
        yield from _formulas(text, start, at)


def _formulas(text: str, start: int, end: int) -> Iterator[tuple[Literal["text", "formula"], int, int]]:
    for match in _FORMULA.finditer(text, start, end):
        if match.start() > start:
            yield "text", start, match.start()
        yield "formula", match.start(), match.end()
        start = match.end()
    if end > start:
        yield "text", start, end


def _code(written: str, block: bool) -> str:
    if not block:
        content = written.strip("`")
        if content.strip() and content[0] == content[-1] == " ":
            content = content[1:-1]
        return f"<code>{_entities(_OPENS_IN_CODE, content)}</code>"
    first, *lines = written.splitlines(keepends=True)
    lead = re.match(r"[^`~]*", first)[0]  # type: ignore[index]
    sign = _INFO.match(first, len(lead))
    closed = bool(lines) and sign and re.fullmatch(rf"[ \t>]*[{sign[0][0]}]{{3,}}\s*", lines[-1])
    after = "\n" if lines and closed and lines[-1].endswith("\n") else ""
    body = "".join(re.sub(rf"^[ \t>]{{0,{len(lead)}}}", "", line) for line in (lines[:-1] if closed else lines))
    language = f' class="language-{sign[1]}"' if sign and sign[1] else ""
    return f"{_entities(_OPENS, lead)}<pre><code{language}>{_entities(_OPENS_IN_CODE, body)}</code></pre>{after}"


def _formula(match: re.Match[str]) -> str:
    display, inline = match["display"] or match["brackets"], match["inline"] or match["dollars"]
    latex = (display or inline).translate(_NO_SIGNS)
    sign = _DISPLAY if display else _INLINE
    if _VAST.search(latex):
        left, right = (f"{sign[side][0]}{_WORD_JOINER}{sign[side][1]}" for side in ("left", "right"))
        return f"{left}{_entities(_OPENS, latex)}{right}"
    return sign["left"] + _OPENS_IN_LATEX.sub(r"\g<0> ", latex.replace("<", r"\lt ")) + sign["right"]


def _inert(text: str, start: int, end: int, marks: Mapping[int, tuple[int, tuple[int, ...]]]) -> str:
    shown = []
    for at in sorted(at for at in marks if start <= at < end):
        shown.append(_entities(_OPENS, text[start:at]))
        start, numbers = marks[at]
        shown += [f"[\\[{n}\\]](#source-{n})" for n in numbers]
    return "".join(shown) + _entities(_OPENS, text[start:end])


def _emphasis(stars: re.Match[str]) -> str:
    """Stars that can open and close emphasis beside Chinese, Japanese and Korean text, which has no spaces.

    Between punctuation and a letter, stars belong to the letter alone (CommonMark 0.31, 6.2), so that `**注意：**须`
    would be shown with its stars. To Markdown a word joiner is neither.
    """
    before, after = stars.groups()
    if _is_sign(before) == _is_sign(after) or not (_WIDE.match(before) or _WIDE.match(after)):
        return stars[0]
    return f"{_WORD_JOINER}{stars[0]}" if _is_sign(before) else f"{stars[0]}{_WORD_JOINER}"


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" or character in _SIGNS


def _entities(opens: re.Pattern[str], text: str) -> str:
    return opens.sub(lambda match: "".join(f"&#{ord(character)};" for character in match[0]), text)


def plain(shown: str) -> str:
    """What `safe_markdown` was given, from what it or `shown_answer` made of it, without signs and ways to versions.

    Code is fenced anew.
    """
    text, at = "", 0
    for code in _SHOWN_CODE.finditer(shown):
        text += _plain_text(shown[at : code.start()])
        content = html.unescape(code[2] if code[3] is None else code[3])
        ticks = "`" * (max(map(len, re.findall("`+", content)), default=0) + 1)
        if code[3] is None:
            fence = ticks.rjust(3, "`")
            text += (
                f"{fence}{code[1] or ''}\n{content}{'' if content.endswith(chr(10)) or not content else chr(10)}{fence}"
            )
        else:
            gap = " " if "`" in content[:1] + content[-1:] else ""
            text += f"{ticks}{gap}{content}{gap}{ticks}"
        at = code.end()
    return text + _plain_text(shown[at:])


def _plain_text(shown: str) -> str:
    return html.unescape(_SHOWN_MARK.sub(r"[\1]", _SIGN.sub("", shown)).replace(_WORD_JOINER, ""))


def shown_answer(
    text: str, stated: Sequence[Statement], tongue: Tongue, message: int, sources: Sequence[Source]
) -> str:
    """An answer as Markdown: each statement marked as supported or not, `[n]` leading to the passages of its message,
    and what the model says of its own knowledge set apart.
    """
    texts = TEXTS[tongue]
    apart = [(start, end) for kind, start, end in _segments(text) if kind != "text"]
    own = OWN.search(text)
    until = own.start() if own else len(text)
    signed, position = [], 0
    for statement in stated:
        if statement.end > until or any(a < statement.end and statement.start < b for a, b in apart):
            continue
        sign = {True: _HELD, False: _BARE, None: ""}[statement.supported]
        signed += [text[position : statement.end].translate(_NO_SIGNS), sign]
        position = statement.end
    known = bodies(sources)
    shown = safe_markdown("".join(signed) + text[position:until].translate(_NO_SIGNS), known)
    for sign, kind in ((_HELD, "supported"), (_BARE, "unsupported")):  # the sign itself is the style sheet's
        label = html.escape(texts[kind], quote=True)
        shown = shown.replace(sign, f'<sup class="rs-{kind}" role="img" title="{label}" aria-label="{label}"></sup>')
    if own:
        said = safe_markdown(text[own.end() :].strip(), known).replace("\n", "\n> ")
        shown = f"{shown.rstrip()}\n\n> **{html.escape(texts['own'])}**\n>\n> {said}"
    return shown.replace("](#source-", f"](#source-{message}-")


def evidence(
    sources: Sequence[Source],
    query: str,
    tongue: Tongue,
    cited: Collection[int] = (),
    trace: Trace = _NO_TRACE,
    *,
    message: int = 0,
    focus: int = 0,
    answer: Answer | None = None,
) -> str:
    """The evidence panel: each passage with path, page, scores, and the words of the question marked; then how the
    search came to them, the prompt that was sent and what each step took.

    `message` is the answer's, whose passage `focus` is to be looked at.
    """
    texts = {key: html.escape(text, quote=True) for key, text in TEXTS[tongue].items()}
    panel = (
        f'<div class="rs-panel-head"><h2>{texts["passages"]}</h2>'
        f'<button class="rs-close" data-page="close" aria-label="{texts["close"]}">✕</button></div>'
    )
    if not sources:
        return f'{panel}<div class="rs-empty">{texts["no_evidence"]}</div>'
    terms = keywords(query)
    said = _said(answer, {source.n: source.text for source in sources}) if answer else {}
    ordered = sorted(sources, key=lambda s: (s.n not in cited, s.n))
    cards = "".join(
        _card(source, terms, tongue, source.n in cited, source.n == focus, said.get(source.n, ())) for source in ordered
    )
    head = f'<div class="rs-query">{texts["searched"]}: {html.escape(query[:300])}</div>'
    notes = "".join(f'<div class="rs-note">{html.escape(says(note, tongue))}</div>' for note in trace.notes)
    more = _traced(trace, tongue) + (_sent(answer, TEXTS[tongue], tongue) if answer else "")
    shown = f"{head}{notes}{cards}{more}"
    return f'{panel}<div class="rs-evidence" data-message="{message}" data-focus="{focus}">{shown}</div>'


def _said(answer: Answer, texts: Mapping[int, str]) -> dict[int, list[str]]:
    """What an answer has from each source that it cites: its own sentences, and those that it puts in other words."""
    said = {citation.n: quotes_of(answer.text, citation.quote) for citation in answer.citations}
    if answer.backend != "extractive":
        for statement in statements(answer.text, answer.query, answer.sources):
            claim = without_marks(answer.text[statement.start : statement.end])
            for n in statement.cites if statement.supported else ():
                if n in said and n in texts:
                    said[n].append(context_quote(claim, texts[n]))
    return said


def _sent(answer: Answer, texts: Mapping[str, str], said: Tongue) -> str:
    """What the model thought, the prompt as it was sent, and the milliseconds of each step."""
    stages = timed(answer.stages, said)
    blocks = "".join(f"<h4>{html.escape(role)}</h4><pre>{html.escape(text)}</pre>" for role, text in answer.prompt)
    sent = f'<details class="rs-prompt"><summary>{html.escape(texts["prompt"])}</summary>{blocks}</details>'
    thoughts = (
        f'<details class="rs-thoughts"><summary>{html.escape(texts["thoughts"])}</summary>'
        f"<pre>{html.escape(answer.thoughts)}</pre></details>"
    )
    told = (thoughts if answer.thoughts else "") + (sent if blocks else "")
    return told + f'<p class="rs-stages">{html.escape(stages)}</p>'


def _traced(trace: Trace, tongue: Tongue) -> str:
    """The wordings that were searched, and where the best candidates stood in each ranking."""
    if not trace.candidates:
        return ""
    texts = TEXTS[tongue]
    also = "".join(f"<li>{html.escape(q.text[:300])}</li>" for q in trace.queries[1:])
    wordings = f"<p>{html.escape(texts['also_searched'])}</p><ul>{also}</ul>" if also else ""
    names = (texts["fate"], texts["chunk"], texts["words"], texts["meaning"], texts["score"], texts["rerank"])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = "".join(_row(row, texts) for row in trace.candidates[:_TRACED])
    stages = html.escape(timed(trace.stages, tongue))
    shown = _OF_CHAT.sub(html.escape(texts["attached"]), f"<tbody>{rows}</tbody></table><p>{stages}</p>")
    return (
        f'<details class="rs-trace"><summary>{html.escape(texts["how"])}</summary>{wordings}'
        f"<table><thead><tr>{head}</tr></thead>{shown}</details>"
    )


def _row(row: Candidate, texts: Mapping[str, str]) -> str:
    ranks = {place.retriever: f"#{place.rank}" for place in reversed(row.places)}  # of the first wording that has one
    page = f" p. {row.page}" if row.page else ""
    place = str(row.rank) if row.rank else texts["lost"].format(texts.get(row.dropped, row.dropped))
    rerank = "" if row.rerank is None else f"{row.rerank:.3f}"
    cells = (
        place, f"{row.path}{page} ·{row.ordinal + 1}", ranks.get("lexical", ""), ranks.get("dense", ""),
        f"{row.fused:.3f}", rerank,
    )  # fmt: skip
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _card(
    source: Source, terms: Collection[str], tongue: Tongue, cited: bool, focus: bool, quotes: Sequence[str]
) -> str:
    hit, texts = source.hit, TEXTS[tongue]
    page = ""
    if hit.page:
        label = texts["page"].format(hit.page) if "{}" in texts["page"] else f"{texts['page']} {hit.page}"
        page = f' <span class="rs-page">{html.escape(label)}</span>'
    how = {(True, True): "by_both", (True, False): "by_words", (False, True): "by_meaning"}
    found = texts[how.get((bool(hit.lexical_rank), bool(hit.dense_rank)), "by_place")]
    shown = f'<span class="rs-badge">{html.escape(texts["cited"])}</span>' if cited else ""
    heading = " › ".join(dict.fromkeys(h for h in (hit.title, *hit.headings) if h))
    notes = "".join(f'<div class="rs-note">{html.escape(note)}</div>' for note in version_notes(hit, tongue))
    return (
        f'<details class="rs-card{" rs-cited" if cited else ""}" id="source-{source.n}"'
        f"{' open' if focus or cited or source.n <= 3 else ''}>"
        f"<summary><b>[{source.n}]</b> {named(hit)}{page} {shown}</summary>"
        f'<div class="rs-heading">{html.escape(heading)}</div>{notes}'
        f'<div class="rs-text">{laid_out(source.text, hit.path, terms, quotes)}</div>{_in_place(source, tongue)}'
        f'<div class="rs-heading">{html.escape(found)}</div>{_scores(hit, texts)}</details>'
    )


def named(hit: Hit) -> str:
    """What a passage is from, as HTML: the path of its file, or a link to the page of the web."""
    if not hit.url:
        return f"<bdi>{html.escape(hit.path)}</bdi>"
    address = html.escape(hit.url, quote=True)
    return f'<a href="{address}" target="_blank" rel="noopener noreferrer"><bdi>{address}</bdi></a>'


def _in_place(source: Source, tongue: Tongue) -> str:
    """The page of a PDF with the passage marked, fetched when it is opened."""
    hit, texts = source.hit, TEXTS[tongue]
    if not hit.kb or not has_picture(hit):
        return ""
    label = html.escape(texts["in_place"], quote=True)
    place = f"chats/{hit.kb}/view" if is_chat(hit.kb) else f"view/{quote(hit.kb)}"
    address = html.escape(f"{place}/{hit.chunk_id}.png", quote=True)
    picture = f'<img loading="lazy" alt="{label}" src="{address}">'
    return f'<details class="rs-view"><summary>{label}</summary>{picture}</details>'


def _scores(hit: Hit, texts: Mapping[str, str]) -> str:
    """The figures of the search, for whoever asks for them."""
    said = [f"{texts['score']} {hit.score:.3f}"] if hit.score else []  # else it was not searched for, but named
    said += [f"{texts['words']} #{hit.lexical_rank}"] if hit.lexical_rank else []
    said += [f"{texts['meaning']} #{hit.dense_rank}"] if hit.dense_rank else []
    said += [f"{texts['rerank']} {hit.rerank_score:.3f}"] if hit.rerank_score is not None else []
    if not said:
        return ""
    name = html.escape(texts["scores"])
    return f'<details class="rs-scores"><summary>{name}</summary>{html.escape(" · ".join(said))}</details>'
