"""What of a knowledge base could not be read, said at once, by what can be done about it."""

import html
import re
from typing import TYPE_CHECKING

from app.measuring.overview import grouped
from app.messages.errors_zh import says
from app.messages.texts import Tongue
from app.running.library import files
from app.ui.settings_edit import editable
from core.config import Config
from core.types import FileError

if TYPE_CHECKING:
    from retrieval.index import Index

_GROUPS, _NAMES = 6, 3  # of what can be done, and files of each that are named
_SETTING = re.compile(r"\b(?:ingest|app)\.[a-z_]+\b")

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "t_failed": "{} files could not be read:", "t_failed_one": "1 file could not be read:",
        "t_more": " and {} more",
        "t_groups": "and {} for other reasons", "t_show": "Show them", "t_change": "Change {}",
        "t_notes": "{} files have notes: pages without text, say, or text that nobody sees.", "t_stop": "; ",
        "t_left_out": "Left out, files and folders: {}.",
    },
    "zh": {
        "t_failed": "有 {} 个文件无法读取：", "t_failed_one": "有 1 个文件无法读取：", "t_more": " 等 {} 个",
        "t_groups": "另有 {} 个文件因其他原因", "t_show": "查看这些文件", "t_change": "修改 {}",
        "t_notes": "有 {} 个文件带备注：例如没有文字的页，或看不见的文字。", "t_stop": "；",
        "t_left_out": "有 {} 个文件或文件夹未收录。",
    },
}  # fmt: skip


def troubles(index: "Index", said: Tongue, *, admin: bool) -> str:
    """The files that failed, those together for which the same is to be done, and how many have notes."""
    texts = TEXTS[said]
    failures = index.catalog.failures()
    _, noted = files(index, "notes", "", 0, 0)
    body = ""
    if failures:
        head = texts["t_failed_one" if len(failures) == 1 else "t_failed"].format(len(failures))
        groups = grouped(failures)
        rows = [_row(group, said, admin=admin) for group in groups[:_GROUPS]]
        if rest := sum(map(len, groups[_GROUPS:])):
            rows.append(f"<li>{html.escape(texts['t_groups'].format(rest))}</li>")
        body += f"❌ {html.escape(head)} {_shows('failed', said)}<ul>{''.join(rows)}</ul>"
    if noted:
        body += f"<div>⚠️ {html.escape(texts['t_notes'].format(noted))} {_shows('notes', said)}</div>"
    if left_out := files(index, "left_out", "", 0, 0)[1]:
        body += f"<div>{html.escape(texts['t_left_out'].format(left_out))} {_shows('left_out', said)}</div>"
    return f'<div class="rs-troubles">{body}</div>' if body else ""


def _row(group: list[FileError], said: Tongue, *, admin: bool) -> str:
    texts, first = TEXTS[said], group[0]
    reasons = list(dict.fromkeys(says(failure.error, said) for failure in group))
    names = ", ".join(failure.path for failure in group[:_NAMES])
    names += texts["t_more"].format(len(group) - _NAMES if said == "en" else len(group)) if len(group) > _NAMES else ""
    told = texts["t_stop"].join([*reasons[:_NAMES], *([says(first.hint, said)] if first.hint else [])])
    setting = _SETTING.search(first.hint)
    way = ""
    if admin and setting and _known(setting[0]):
        label = html.escape(texts["t_change"].format(setting[0]))
        way = f' <button type="button" class="rs-go" data-go="settings" data-setting="{setting[0]}">{label}</button>'
    return f"<li><b>{html.escape(names)}</b>: {html.escape(told)}{way}</li>"


def _known(name: str) -> bool:
    section, key = name.split(".", 1)
    return key in type(getattr(Config(), section)).model_fields and editable(name)


def _shows(state: str, said: Tongue) -> str:
    label = html.escape(TEXTS[said]["t_show"])
    return f'<button type="button" class="rs-go" data-value="{state}">{label}</button>'
