"""The part of the Settings tab in which one setting is changed, checked while it is typed, and the app started anew."""

import html
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.settings_help import meanings
from app.messages.texts import Tongue, tongue
from app.running.taking import key_apart, write_apart
from app.ui import pressed
from app.ui.choice import choice
from app.ui.knowledge_job import noted, told
from app.ui.markup import markup
from core import plugins
from core.config import PATHS, SECRETS, allowed, load
from core.edit import default, parsed
from core.errors import ConfigError, without_login

if TYPE_CHECKING:
    from app.running.bases import State

# What decides where data lies and who reads it, who gets in, whose code runs, is for the machine's owner, not the page.
_APART = frozenset({
    "app.database", "app.host", "app.port", "app.users", "app.hosts", "app.root_path", "ingest.workers",
    "ingest.workers_ca", "ingest.workers_cert", "ingest.workers_key", "llm.chat", "llm.vllm_args", "llm.vllm_host",
})  # fmt: skip
_SIGN_ON = ("oidc", "ldap")

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "setting": "Setting to change", "typed": "Value", "save": "Save", "restore": "Back to the default",
        "anew": "Start the app anew", "usual": "Default", "takes": "Takes", "good": "This value can be saved.",
        "saved": "Saved in {}. It takes effect with the next start.", "none": "empty",
        "stronger": "But {} sets it too, and comes before the file.", "secret": "What is there is not shown.",
        "flag": "command line",
        "empties": "⚠️ It leads to another server: {} is emptied with it, and asked for anew.",
        "emptied": "⚠️ {0} was emptied, since this leads to another server: save the key of that one under {0}.",
        "gone": "The app starts anew. Load this page again in some seconds.",
        "cannot": "This app was not started in a way that it could start itself anew: end it, and start it.",
    },
    "zh": {
        "setting": "要修改的设置", "typed": "值", "save": "保存", "restore": "恢复默认值",
        "anew": "重新启动应用", "usual": "默认值", "takes": "可取", "good": "可以保存这个值。",
        "saved": "已保存到 {}，下次启动后生效。", "none": "空",
        "stronger": "但 {} 也设置了它，并且优先于文件。", "secret": "已有的值不会显示。", "flag": "命令行",
        "empties": "⚠️ 此地址指向另一台服务器：{} 会随之清空，需重新输入。",
        "emptied": "⚠️ 新地址指向另一台服务器，{0} 已清空：请在 {0} 中保存那台服务器的密钥。",
        "gone": "应用正在重新启动，请过几秒后重新加载此页面。",
        "cannot": "此应用的启动方式不支持自行重启：请先结束它，再启动。",
    },
}  # fmt: skip


def editable(name: str) -> bool:
    """Whether a setting can be changed on the page."""
    apart = name in _APART or name.split(".", 1)[0] in _SIGN_ON
    return not (apart or isinstance(default(name), dict) or (name in PATHS and name != "app.folders"))


def build(state: "State", say: Any, row: Any) -> list[Any]:
    """The part; `row` is the text box of the list above. Returns the events after which that is looked at again."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    names = [name for name, _, _ in state.settings.rows() if editable(name)]
    with gr.Row(equal_height=True):
        name = choice(choices=names, value=None, label=say("setting"), elem_id="settings-name", min_width=200)
        value = gr.Textbox("", label=say("typed"), max_lines=1, max_length=10_000, elem_id="settings-value", scale=2)
    shown = markup("settings-told")
    with gr.Row():
        save = gr.Button(say("save"), variant="primary", elem_id="settings-save", min_width=90)
        restore = gr.Button(say("restore"), elem_id="settings-restore", min_width=90)
        anew = gr.Button(say("anew"), elem_id="settings-anew", min_width=90)
    row.change(lambda what: pressed.read(what).get("value", ""), row, name, **quietly)
    name.change(_describer(state), name, [value, shown], **quietly)
    value.change(_checker(state), [name, value], shown, trigger_mode="always_last", **quietly)
    saved = save.click(_writer(state), [name, value], [value, shown], **quietly)
    restored = restore.click(_writer(state, back=True), [name, value], [value, shown], **quietly)
    anew.click(_starter(state), None, shown, **quietly)
    return [saved, restored]


def _named(state: "State", name: object, request: Any) -> str:
    """A setting that an admin may change here. Raises `AccessError`, `ConfigError`."""
    state.users.require(request, "admin")
    if name not in [known for known, _, _ in state.settings.rows()] or not editable(str(name)):
        raise ConfigError("this setting is not changed on the page", "change it in config.toml, and start the app anew")
    return str(name)


def _as_typed(value: Any) -> str:
    """A value as one types it: text as it is, lists separated by commas."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(name: str, said: Tongue, *lines: str) -> str:
    texts = TEXTS[said]
    usual = _as_typed(default(name)) or texts["none"]
    rows = [
        meanings(said).get(name, ""), f"{texts['usual']}: {usual}. {texts['takes']}: {says(allowed(name), said)}.",
        *([texts["secret"]] if name in SECRETS else []), *lines,
    ]  # fmt: skip
    return "".join(f'<div class="rs-line">{html.escape(line)}</div>' for line in rows if line)


def _describer(state: "State") -> Any:
    import gradio as gr

    def describe(name: str | None, request: gr.Request) -> Any:
        if not name:
            return "", ""
        known = _named(state, name, request)
        look = '<span data-look="settings-value"></span>'  # it was pressed below what it is changed in
        return _written(state, known), look + _described(known, tongue(request))

    return told(describe)


def _written(state: "State", name: str) -> str:
    """What the file says of a setting, as it is typed; nothing of a secret."""
    section, key = name.split(".", 1)
    now = getattr(getattr(load(state.settings.file, environ={}).config, section), key)
    return "" if name in SECRETS else _as_typed(now)


def _value(state: "State", name: str, typed: str) -> Any:
    """What is typed, checked. Raises `ConfigError`."""
    value = parsed(state.settings, name, typed.strip())
    if isinstance(value, str) and plugins.is_named(value):
        raise ConfigError("code of others is named in config.toml alone", "change it there, and start the app anew")
    return value


def _checker(state: "State") -> Any:
    import gradio as gr

    def check(name: str | None, typed: str, request: gr.Request) -> Any:
        if not name:
            return ""
        known, said = _named(state, name, request), tongue(request)
        if typed == _written(state, known):
            return gr.skip()  # it was put here
        try:
            key = key_apart(state.settings, known, _value(state, known, typed))
        except ConfigError as error:
            return _described(known, said, f"❌ {says(error, said)}")
        warned = [TEXTS[said]["empties"].format(key)] if key else []
        return _described(known, said, f"✅ {TEXTS[said]['good']}", *warned)

    return told(check)


def _writer(state: "State", *, back: bool = False) -> Any:
    import gradio as gr

    def save(name: str | None, typed: str, request: gr.Request) -> Any:
        if not name:
            return "", ""
        known, said = _named(state, name, request), tongue(request)
        value = default(known) if back else _value(state, known, typed)
        file, emptied = write_apart(state.settings, known, value)
        shown = "***" if known in SECRETS else _as_typed(value)
        noted(state, request, "setting", known, without_login(shown))
        lines = [f"✅ {TEXTS[said]['saved'].format(file)}"]
        if emptied:
            noted(state, request, "setting", emptied, "***")
            lines.append(TEXTS[said]["emptied"].format(emptied))
        flagged = state.settings.origins[known] == "flag"
        origin = TEXTS[said]["flag"] if flagged else load(state.settings.file).origins[known]
        if origin != str(file):
            lines.append(TEXTS[said]["stronger"].format(origin))
        return "" if known in SECRETS else shown, _described(known, said, *lines)

    return told(save)


def _starter(state: "State") -> Any:
    import gradio as gr

    def start(request: gr.Request) -> str:
        state.users.require(request, "admin")
        texts = TEXTS[tongue(request)]
        load(state.settings.file)  # raises where the app would not start
        if any(job.state == "running" for job in state.jobs.latest()):
            raise ConfigError("work is going on, which would be cut off", "wait for its end, or stop it first")
        if state.start_anew is None:
            return html.escape(texts["cannot"])
        noted(state, request, "app.restart")
        state.start_anew()
        return f'<div class="rs-note">{html.escape(texts["gone"])}</div>'

    return told(start)
