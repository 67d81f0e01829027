"""How a collection is, on one screen, for those who keep it: what is in it, twice, old or missing."""

import html
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.answering import unanswered
from app.measuring.overview import Alike, Missing, Overview, Share, Unread, day, overview
from app.messages.errors_zh import says
from app.messages.texts import TEXTS as CHAT_TEXTS
from app.messages.texts import Tongue, tongue
from app.ui import pressed
from app.ui.knowledge_job import noted, opened, told
from app.ui.knowledge_result import table
from app.ui.markup import markup
from app.ui.together import Together

if TYPE_CHECKING:
    from app.running.bases import State

_ALL = "all"

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "overview": "What is in it, twice, old or missing",
        "o_parts": "Languages and formats", "o_language": "language", "o_format": "format",
        "o_files": "files", "o_passages": "passages", "o_pages": "pages", "o_unread": "Could not be read: {}",
        "o_more": "and {} more", "o_alike": "Near-identical files: {}", "o_superseded": "of {} a newer one is there",
        "o_compared": "Compared are the {} files that came last.", "o_same": "{:.0%} the same", "o_older": "older",
        "o_how": "Reckoned from sketches of whole documents, from an estimated likeness of 80% on.",
        "o_old": "Not changed for {} months: {}", "o_changed": "changed", "o_file": "file",
        "o_missing": "Questions that nothing was found for: {}", "o_off": "None are kept now: an admin may switch on "
        "app.keep_unanswered. They would stay on this machine, without a word of who asked.",
        "o_kept": "Kept on this machine, without a word of who asked.", "o_none": "None yet.",
        "o_asked": "asked {} times, last on {}", "o_once": "asked once, on {}", "o_wordings": "other wordings",
        "o_nearest": "Nearest is {}, which does not answer it.", "o_since": "Nearest is {}, which was read since.",
        "o_nothing": "Nothing comes near it.", "o_forget": "Forget", "o_forget_all": "Forget all of these questions",
        "o_colon": ": ", "o_add": "Add documents that answer them, and forget what is answered.",
    },
    "zh": {
        "overview": "概览：内容、重复、旧文件和缺少的内容",
        "o_parts": "语言和格式", "o_language": "语言", "o_format": "格式",
        "o_files": "文件", "o_passages": "段落", "o_pages": "页", "o_unread": "无法读取：{} 个",
        "o_more": "还有 {} 个", "o_alike": "近乎相同的文件：{} 个", "o_superseded": "其中 {} 个已有更新的版本",
        "o_compared": "只比较了最近收录的 {} 个文件。", "o_same": "{:.0%} 相同", "o_older": "较旧",
        "o_how": "根据整篇文档的摘要值估算，相似度达到 80% 即列出。",
        "o_old": "{} 个月没有变化：{} 个", "o_changed": "最后更改", "o_file": "文件",
        "o_missing": "没有找到答案的问题：{} 个", "o_off": "目前不保存这些问题：管理员可以打开 app.keep_unanswered。"
        "问题只保存在本机，不记是谁问的。",
        "o_kept": "只保存在本机，不记是谁问的。", "o_none": "还没有。",
        "o_asked": "问过 {} 次，最近一次在 {}", "o_once": "问过一次，在 {}", "o_wordings": "其他问法",
        "o_nearest": "最接近的是 {}，但它没有回答这个问题。", "o_since": "最接近的是 {}，它在提问之后才读取。",
        "o_nothing": "没有接近的内容。", "o_forget": "忘掉", "o_forget_all": "忘掉所有这些问题",
        "o_colon": "：", "o_add": "请补充能回答它们的文档；已能回答的，可以忘掉。",
    },
}  # fmt: skip


def build(state: "State", say: Any, chosen: Any, turn: Any, together: Together) -> Any:
    """The part of the tab. It is filled when it is opened, and from then on as `chosen` or `turn` changes.

    Returns what is to be shown to editors alone.
    """
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with (
        gr.Column(visible=False) as keeping,
        gr.Accordion(say("overview"), open=False, elem_id="knowledge-overview-part") as part,
    ):
        shown, what = markup("knowledge-overview"), pressed.box("knowledge-overview")
    seen, due = gr.State(False), gr.State("")  # whether it was opened; changes when it is to be made anew
    part.expand(_opener(state), chosen, [shown, seen], **quietly)
    together.when([chosen, turn], _follower, [seen], [shown, due])
    due.change(_looker(state), chosen, shown, **quietly)
    what.change(_forgetter(state), [chosen, what], shown, **quietly)
    return keeping


def _opener(state: "State") -> Any:
    import gradio as gr

    def look(kb: str | None, request: gr.Request) -> tuple[str, bool]:
        return _look(state, kb, request), True

    return told(look)


def _follower(seen: bool, _: Any) -> Any:
    """What was shown goes at once; what takes its place is an event of its own, for which nothing else waits."""
    import gradio as gr

    return ("", str(time.time())) if seen else (gr.skip(), gr.skip())


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(kb: str | None, request: gr.Request) -> str:
        return _look(state, kb, request)

    return told(look)


def _forgetter(state: "State") -> Any:
    import gradio as gr

    def forget(kb: str | None, what: str, request: gr.Request) -> Any:
        """Forget the questions that a button names, by their ids."""
        home = opened(state, request, kb, "editor").home
        named = pressed.read(what).get("value", "")
        if not named:
            return gr.skip()
        count = unanswered.forget(home, None if named == _ALL else named.split(","))
        noted(state, request, "questions.forget", kb or "", f"{count} questions")
        return _look(state, kb, request)

    return told(forget)


def _look(state: "State", kb: str | None, request: Any) -> str:
    if not kb:
        return ""
    return described(overview(opened(state, request, kb, "editor"), state.cfg), tongue(request))


def described(found: Overview, said: Tongue) -> str:
    """The report as HTML, in which everything that documents and questions say is escaped."""
    texts = TEXTS[said]
    duplicates = texts["o_alike"].format(found.duplicates)
    if found.superseded:
        duplicates += f" · {texts['o_superseded'].format(found.superseded)}"
    among = [texts["o_compared"].format(found.compared)] if found.compared < found.documents else []
    return "".join(
        [
            _section(texts["o_parts"], [_shares(found.languages, "language", said),
                     _shares(found.formats, "format", said)]),
            _section(texts["o_missing"].format(found.wordings), _missing(found, said)),
            _section(texts["o_unread"].format(found.failed), [_list(_unread(row, said) for row in found.unread)]),
            _section(duplicates, [_note(" ".join([texts["o_how"], *among])),
                     _list(_alike(group, said) for group in found.alike)]),
            _section(texts["o_old"].format(found.months, found.old_files), [_old(found, said)]),
        ]
    )  # fmt: skip


def _section(title: str, parts: Iterable[str]) -> str:
    return f'<details class="rs-card" open><summary><b>{html.escape(title)}</b></summary>{"".join(parts)}</details>'


def _note(text: str) -> str:
    return f'<div class="rs-line">{html.escape(text)}</div>'


def _list(items: Iterable[str]) -> str:
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def _shares(shares: Iterable[Share], what: str, said: Tongue) -> str:
    texts, chat = TEXTS[said], CHAT_TEXTS[said]
    rows = [
        (chat.get(f"lang_{row.name}", row.name) if what == "language" else row.name or "–", row.files, row.chunks,
         row.pages or "–")
        for row in shares
    ]  # fmt: skip
    head = [texts[f"o_{what}"], texts["o_files"], texts["o_passages"], texts["o_pages"]]
    return table(head, rows) if rows else ""


def _unread(row: Unread, said: Tongue) -> str:
    texts = TEXTS[said]
    more = row.count - len(row.paths)
    names = ", ".join([*row.paths, *([texts["o_more"].format(more)] if more else [])])
    why = [says(row.error, said), *([says(row.hint, said)] if row.hint else [])]
    return f"<b>{html.escape(names)}</b>{texts['o_colon']}{html.escape(' · '.join(why))}"


def _alike(group: Alike, said: Tongue) -> str:
    texts = TEXTS[said]
    first, *others = group.files
    rows = []
    for file in others:
        facts = [texts["o_same"].format(file.likeness), *([texts["o_older"]] if file.older else []), _day(file.changed)]
        rows.append(f"<bdi>{html.escape(file.path)}</bdi> · {html.escape(' · '.join(facts))}")
    if more := group.count - len(group.files):
        rows.append(html.escape(texts["o_more"].format(more)))
    return f"<b><bdi>{html.escape(first.path)}</bdi></b> · {_day(first.changed)}{_list(rows)}"


def _old(found: Overview, said: Tongue) -> str:
    texts = TEXTS[said]
    if not found.old:
        return ""
    more = found.old_files - len(found.old)
    rows = table([texts["o_changed"], texts["o_file"]], [(_day(row.changed), row.path) for row in found.old])
    return rows + (_note(texts["o_more"].format(more)) if more else "")


def _missing(found: Overview, said: Tongue) -> Iterable[str]:
    texts = TEXTS[said]
    yield _note(texts["o_kept" if found.kept else "o_off"])
    if found.missing:
        yield _note(texts["o_add"])
    if found.kept and not found.missing:
        yield _note(texts["o_none"])
    yield _list(_group(group, said) for group in found.missing)
    if found.missing:
        yield _button(_ALL, texts["o_forget_all"], texts["o_forget_all"])


def _group(group: Missing, said: Tongue) -> str:
    texts = TEXTS[said]
    first, *others = group.questions
    asked = texts["o_once"].format(_day(group.last)) if group.asked == 1 else texts["o_asked"].format(
        group.asked, _day(group.last)
    )  # fmt: skip
    wordings = [f"“{other}”" for other in others]
    if more := len(group.ids) - len(group.questions):
        wordings.append(texts["o_more"].format(more))
    near = group.nearest
    lines = [f"{texts['o_wordings']}{texts['o_colon']}{', '.join(wordings)}"] if wordings else []
    if near is None:
        lines.append(texts["o_nothing"])
    else:
        place = " › ".join([near.path, *near.headings])
        lines.append(texts["o_since" if near.read_since else "o_nearest"].format(place))
    forget = _button(",".join(group.ids), texts["o_forget"], f"{texts['o_forget']}{texts['o_colon']}{first}")
    return f"<b><bdi>{html.escape(first)}</bdi></b> · {html.escape(asked)} {forget}{''.join(map(_note, lines))}"


def _button(value: str, label: str, name: str) -> str:
    return (
        f'<button type="button" class="rs-go" data-value="{html.escape(value)}" aria-label="{html.escape(name)}">'
        f"{html.escape(label)}</button>"
    )


def _day(seconds: float) -> str:
    return day(seconds) or "–"
