"""The part of the Settings tab in which admins see who may use the app, whence they come, and how much they ask."""

from typing import TYPE_CHECKING, Any

from app.messages.texts import Tongue, tongue
from app.running.usage import named
from app.ui.knowledge_job import told
from app.ui.knowledge_result import table
from app.ui.markup import markup

if TYPE_CHECKING:
    from app.running.bases import State

DAYS = 30

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "accounts": "Accounts", "usage": "Questions of the last 30 days", "account": "name", "role": "role",
        "bases": "knowledge bases", "source": "comes by", "keys": "keys", "all": "all", "by_hand": "set by hand",
        "here": "this app", "person": "person", "kb": "knowledge base", "page": "page", "api": "API", "mcp": "MCP",
        "total": "in all", "last": "last day", "closed": "closed",
        "counts": "Counts alone: what was asked is not kept here. They stay on this machine for a year.",
    },
    "zh": {
        "accounts": "账户", "usage": "最近 30 天的提问", "account": "名称", "role": "角色",
        "bases": "知识库", "source": "来自", "keys": "密钥", "all": "全部", "by_hand": "手动设置",
        "here": "本应用", "person": "人员", "kb": "知识库", "page": "界面", "api": "API", "mcp": "MCP",
        "total": "总计", "last": "最后一天", "closed": "已关闭",
        "counts": "只有次数：这里不保存提问的内容。次数在本机保留一年。",
    },
}  # fmt: skip


def build(state: "State", say: Any, refresh: Any) -> None:
    """The part; it is shown anew when `refresh` is pressed."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    for what, look in (("accounts", _accounts(state)), ("usage", _usage(state))):
        with gr.Accordion(say(what), open=False, elem_id=f"settings-{what}-part") as part:
            shown = markup(f"settings-{what}")
        gr.on([part.expand, refresh.click], look, None, shown, **quietly)


def _accounts(state: "State") -> Any:
    import gradio as gr

    def look(request: gr.Request) -> str:
        state.users.require(request, "admin")
        texts, accounts = TEXTS[tongue(request)], state.users.accounts
        keys = [key.user for key in accounts.keys_of()]
        by_hand = f" ({texts['by_hand']})"
        rows = [
            (
                a.name, a.role + by_hand * ("role" in a.by_hand),
                (texts["all"] if a.bases is None else ", ".join(a.bases)) + by_hand * ("bases" in a.by_hand),
                (f"{a.source} {a.issuer}" if a.source else texts["here"]) + f" ({texts['closed']})" * (a.until == 0),
                str(keys.count(a.name)),
            )
            for a in accounts.all()
        ]  # fmt: skip
        return table([texts[key] for key in ("account", "role", "bases", "source", "keys")], rows)

    return told(look)


def _usage(state: "State") -> Any:
    import gradio as gr

    def look(request: gr.Request) -> str:
        state.users.require(request, "admin")
        texts = TEXTS[tongue(request)]
        rows = [
            (name or "-", row.kb, str(row.page), str(row.api), str(row.mcp), str(row.total), row.last)
            for name, row in named(state.usage.totals(DAYS), state.users.accounts)
        ]
        head = [texts[key] for key in ("person", "kb", "page", "api", "mcp", "total", "last")]
        return f'<div class="rs-note">{texts["counts"]}</div>{table(head, rows)}'

    return told(look)
