"""The Settings tab: the configuration as it is in effect, where each value came from, and what it means."""

import html
import json
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.settings_help import changed, meanings, not_default
from app.messages.texts import Tongue, tongue
from app.running.audit import entries, moment
from app.ui import pressed, settings_edit, settings_people
from app.ui.knowledge_job import pressable, told
from app.ui.knowledge_result import Html, table
from app.ui.markup import markup
from app.ui.together import on_load
from core.errors import ConfigError

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "settings", "admin"

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Settings", "filter": "Filter by name, value or meaning", "only": "Only what is not as by default",
        "refresh": "Refresh", "name": "setting", "value": "value", "origin": "from", "meaning": "meaning",
        "default": "default", "count": "{} of {} settings",
        "restart": "Settings are read when the app starts: what you change in {}, in the environment or on the "
        "command line takes effect with the next start. Only what a request itself states (sampling settings, "
        "filters), prompts and the adapters of knowledge bases take effect at once, and a promoted model with the "
        "next start of the model server.",
        "audit": "Who did what", "when": "when", "who": "who", "what": "what", "on": "on", "how": "how",
        "no_file": "a config.toml", "setup": "Set up in three steps",
        "waits": "{} says {} now: it takes effect with the next start.",
    },
    "zh": {
        "tab": "设置", "filter": "按名称、值或含义筛选", "only": "只显示非默认值",
        "refresh": "刷新", "name": "设置", "value": "值", "origin": "来源", "meaning": "含义",
        "default": "默认", "count": "{} / {} 项设置",
        "restart": "设置在应用启动时读取：在 {}、环境变量或命令行中的修改，下次启动后才生效。只有请求自带的内容"
        "（采样设置、筛选条件）、提示词和知识库的适配器立即生效，启用的模型在模型服务下次启动时生效。",
        "audit": "操作记录", "when": "时间", "who": "操作者", "what": "操作", "on": "对象", "how": "说明",
        "no_file": "config.toml", "setup": "三步设置", "waits": "{} 现在是 {}：下次启动后生效。",
    },
}  # fmt: skip
for _part in (settings_edit, settings_people):
    for _tongue, _texts in _part.TEXTS.items():
        TEXTS[_tongue] |= _texts


def build(state: "State", say: Any, kb: str) -> None:
    """The tab."""
    import gradio as gr

    with gr.Row(equal_height=True):
        words = gr.Textbox("", label=say("filter"), max_lines=1, elem_id="settings-filter", scale=4, min_width=200)
        only = gr.Checkbox(False, label=say("only"), elem_id="settings-only", scale=2, min_width=160)
        refresh = gr.Button(say("refresh"), elem_id="settings-refresh", scale=1, min_width=90)
    row = pressed.box("settings-rows")
    written = settings_edit.build(state, say, row)
    shown = markup("settings-rows")
    look = _looker(state)
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on([words.change, only.change, refresh.click], look, [words, only], shown, trigger_mode="always_last", **quietly)
    for event in written:
        event.success(look, [words, only], shown, **quietly)
    on_load(look, [words, only], [shown])
    settings_people.build(state, say, refresh)
    with gr.Accordion(say("audit"), open=False, elem_id="settings-audit-part") as part:
        done = markup("settings-audit")
    gr.on([part.expand, refresh.click], _auditor(state), None, done, **quietly)


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(words: str, only: bool, request: gr.Request) -> str:
        if not state.users.of(request).may("admin"):
            return ""
        said = tongue(request)
        texts, meant, settings = TEXTS[said], meanings(said), state.settings
        own = not_default(settings)
        rows = [
            (name, json.dumps(value, ensure_ascii=False), texts.get(origin, origin), meant.get(name, ""))
            for name, value, origin in settings.rows()
            if not only or name in own
        ]
        wanted = words.casefold().split()
        found = [
            (Html(pressable(row[0], row[0])) if settings_edit.editable(row[0]) else row[0], *row[1:])
            for row in rows
            if all(word in " ".join(row).casefold() for word in wanted)
        ]
        head = [texts[key] for key in ("name", "value", "origin", "meaning")]
        note = texts["restart"].format(settings.file or texts["no_file"])
        way = f'<button type="button" class="rs-go" data-go="setup">{html.escape(texts["setup"])}</button>'
        lines = [way, f'<div class="rs-note">{html.escape(note)}</div>', *_waiting(state, said)]
        lines.append(f'<div class="rs-line">{texts["count"].format(len(found), len(settings.rows()))}</div>')
        return "".join(lines) + f'<div class="rs-settings">{table(head, found)}</div>'

    return told(look)


def _auditor(state: "State") -> Any:
    import gradio as gr

    def look(request: gr.Request) -> str:
        state.users.require(request, "admin")
        texts = TEXTS[tongue(request)]
        rows = [(moment(row.at), row.who, row.what, row.on, row.detail) for row in entries(state.bases.data)]
        return table([texts[key] for key in ("when", "who", "what", "on", "how")], rows)

    return told(look)


def _waiting(state: "State", tongue: Tongue) -> list[str]:
    """What is written by now and not in effect yet."""
    try:
        waiting = changed(state.settings)
    except ConfigError as error:
        return [f'<pre class="rs-problem" role="alert">{html.escape(says(error, tongue))}</pre>']
    waits = TEXTS[tongue]["waits"]
    said = [waits.format(name, json.dumps(value, ensure_ascii=False)) for name, value in waiting.items()]
    return [f'<div class="rs-note">⚠️ {html.escape(line)}</div>' for line in said]
