"""The first step of setting up: a folder is found, its plan and cost are shown, and only then it is read."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.keeping.folders import add_folder
from app.keeping.picking import Place, around, kinds, starts
from app.keeping.plan import Forecast, forecast
from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.running.jobs import Job
from app.ui import pressed
from app.ui.knowledge_job import begin as begin_on_base
from app.ui.knowledge_job import latest as latest_on_base
from app.ui.knowledge_job import noted, pressable, shown, told
from app.ui.knowledge_result import TEXTS as RESULT_TEXTS
from app.ui.knowledge_result import duration, failures, lines, listed, table
from app.ui.knowledge_result import panel as job_panel
from app.ui.markup import markup
from app.ui.setup_part import Part, begin, canceller, latest
from core.errors import ReadError
from retrieval.home import check_name

if TYPE_CHECKING:
    from app.running.bases import State

_LOOK = "setup-look"
_KINDS = 12  # endings that are named
_UP = ".."

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "path": "Folder on the machine that runs the app", "base": "Knowledge base that it goes into",
        "look": "Show what it would take", "read": "Read this folder", "f_cancel": "Cancel",
        "here": "In {}", "up": "the folder above", "more_folders": "and {} more: type the path",
        "no_folders": "There is no folder in it.", "path_none": "Give the path of a folder, or choose one.",
        "goes": "{} → knowledge base “{}”", "files": "{} files, {}", "ending": "ending", "count": "files",
        "size": "size", "no_ending": "(none)", "others": "others",
        "nothing_kept": "Nothing is kept so far: some files were opened to reckon this.",
        "no_file": "No file here would be read.", "left_out": "Left out",
        "cost": "About {} passages, {} of them to embed: about {} on this machine.",
        "look_first": "Look at the folder first", "choose_base": "Give the knowledge base a name.",
    },
    "zh": {
        "path": "运行本应用的机器上的文件夹", "base": "放入哪个知识库",
        "look": "查看需要多少时间和空间", "read": "读取此文件夹", "f_cancel": "取消",
        "here": "位于 {}", "up": "上一级文件夹", "more_folders": "还有 {} 个：请直接填写路径",
        "no_folders": "其中没有文件夹。", "path_none": "请填写文件夹的路径，或选择一个。",
        "goes": "{} → 知识库“{}”", "files": "{} 个文件，{}", "ending": "扩展名", "count": "文件数",
        "size": "大小", "no_ending": "（无）", "others": "其他",
        "nothing_kept": "目前没有保存任何内容：只打开了部分文件用于估算。",
        "no_file": "这里没有可读取的文件。", "left_out": "未包括",
        "cost": "约 {} 个段落，其中约 {} 个需要嵌入：在本机约需 {}。",
        "look_first": "请先查看文件夹", "choose_base": "请给知识库一个名称。",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """What reading a folder into a knowledge base would take."""

    folder: str
    kb: str
    cost: Forecast


def build(state: "State", say: Any, kb: str) -> Part:
    """The step."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Row():
        path = gr.Textbox("", label=say("path"), max_lines=1, max_length=4096, elem_id="setup-path", scale=3,
                          min_width=260)  # fmt: skip
        base = gr.Textbox(kb, label=say("base"), max_lines=1, max_length=64, elem_id="setup-base", min_width=160)
    places, pick = markup("setup-places"), pressed.box("setup-places")
    look = gr.Button(say("look"), variant="primary", elem_id="setup-look")
    plan = markup("setup-plan")
    ready = gr.State("")  # the look whose cost is shown
    with gr.Row():
        read = gr.Button(say("read"), variant="primary", visible=False, elem_id="setup-read")
        cancel = gr.Button(say("f_cancel"), variant="stop", visible=False, elem_id="setup-folder-cancel")
    pick.change(_opener(state), [pick], [path, places], **quietly)
    looks = [one(_looker(state), [path, base], None, **quietly) for one in (look.click, path.submit)]
    reads = read.click(_reader(state), [ready], None, **quietly)
    cancels = cancel.click(canceller(state, lambda: (latest(state, _LOOK), _reading(state))), None, None, **quietly)
    return Part([plan, read, cancel, ready], [places], [*looks, reads, cancels], [reads])


def lists(state: "State") -> list[Any]:
    """Where one begins to look for a folder."""
    rows = [(str(path), str(path)) for path in starts(state.cfg.app)]
    return [_rows(rows)]


def panel(state: "State", said: Tongue) -> list[Any]:
    """The plan of the folder that was looked at last, or how far its reading is; what can be done; the look's id."""
    import gradio as gr

    look, work = latest(state, _LOOK), _reading(state)
    if work is not None and (look is None or work.started > look.started):
        looked: Looked = look.result if look and look.result else Looked("", "", Forecast())
        folders = state.bases.get(looked.kb).catalog.folders() if looked.kb in state.bases.names() else []
        return [job_panel(work, folders, said), gr.update(visible=False), _cancels(work), ""]
    if look is None:
        return ["", gr.update(visible=False), gr.update(visible=False), ""]
    done = look.state == "done"
    body = described(look.result, said) if done else job_panel(look, [], said)
    can_read = done and any(plan.added or plan.changed for plan in look.result.cost.plans.values())
    return [body, gr.update(visible=can_read), _cancels(look), look.id if can_read else ""]


def _cancels(job: Job) -> Any:
    import gradio as gr

    return gr.update(visible=job.state == "running")


def _reading(state: "State") -> Job | None:
    """The work on the knowledge base of the folder that was looked at last."""
    look = latest(state, _LOOK)
    if look is None or not isinstance(look.result, Looked):
        return None
    work = latest_on_base(state, look.result.kb)
    return work if work and work.key.startswith("index ") else None


def _rows(rows: list[tuple[str, str]]) -> str:
    items = "".join(f"<li>{pressable(value, html.escape(label))}</li>" for value, label in rows)
    return f'<ul class="rs-rows rs-places">{items}</ul>'


def _placed(place: Place, said: Tongue) -> str:
    """The folders in one, each of which can be opened."""
    texts = TEXTS[said]
    rows = [(str(place.path / name), name) for name in place.folders]
    if place.above:
        rows.insert(0, (str(place.above), f"↑ {texts['up']}"))
    notes = [texts["here"].format(place.path)]
    notes += [texts["more_folders"].format(place.more)] if place.more else []
    notes += [] if place.folders else [texts["no_folders"]]
    return lines(notes[:1]) + _rows(rows) + lines(notes[1:])


def described(looked: Looked, said: Tongue) -> str:
    """The plan and the cost of reading a folder."""
    texts, cost = TEXTS[said], looked.cost
    plans = list(cost.plans.values())
    files = [entry for plan in plans for entry in (*plan.added, *(entry for _, entry in plan.changed))]
    skipped = [f"{error.path}: {says(error.error, said)}" for plan in plans for error in plan.skipped]
    rest = listed(texts["left_out"], skipped, RESULT_TEXTS[said]) if skipped else ""
    bad = failures([error for plan in plans for error in plan.failed], lambda _, path: path, said)
    head = [texts["goes"].format(looked.folder, looked.kb)]
    if not files:
        return f'<div class="rs-job">{lines([*head, texts["no_file"]])}{bad}{rest}</div>'
    by_kind = kinds(files)
    rows = [(kind.suffix or texts["no_ending"], kind.files, size(kind.bytes)) for kind in by_kind[:_KINDS]]
    if others := by_kind[_KINDS:]:
        rows.append((texts["others"], sum(k.files for k in others), size(sum(k.bytes for k in others))))
    head.append(texts["files"].format(len(files), size(sum(entry.size for entry in files))))
    told_cost = texts["cost"].format(f"{cost.chunks:,}", f"{cost.embed:,}", duration(cost.seconds))
    note = f'<div class="rs-note">{html.escape(texts["nothing_kept"])}</div>'
    kinds_table = table([texts["ending"], texts["count"], texts["size"]], rows)
    return f'<div class="rs-job">{lines(head)}{kinds_table}{lines([told_cost])}{note}{bad}{rest}</div>'


def size(count: int) -> str:
    """Bytes as a person reads them: `840 B`, `12 kB`, `3.4 MB`, `1.2 GB`."""
    for unit, each in (("GB", 1e9), ("MB", 1e6)):
        if count >= each:
            return f"{count / each:.1f} {unit}"
    return f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} B"


def _opener(state: "State") -> Any:
    import gradio as gr

    def open_folder(what: str, request: gr.Request) -> Any:
        state.users.require(request, "admin")
        value = pressed.read(what).get("value", "")
        if not value:
            return gr.skip(), gr.skip()
        place = around(Path(value), Path(state.cfg.app.data).resolve())
        return str(place.path), _placed(place, tongue(request))

    return told(open_folder)


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(path: str, kb: str, request: gr.Request) -> None:
        user, said = state.users.require(request, "admin"), tongue(request)
        path, kb = path.strip(), kb.strip()
        if not path or not kb:
            raise shown(TEXTS[said]["choose_base" if path else "path_none"])
        folder = around(Path(path), Path(state.cfg.app.data).resolve()).path
        check_name(kb)

        def work(progress: Any) -> Looked:
            return Looked(str(folder), kb, forecast(state.cfg, kb, [folder], embedder=state.bases.embedder,
                                                    progress=progress))  # fmt: skip

        begin(state, _LOOK, user.name, work, said, _LOOK)

    return told(look)


def _reader(state: "State") -> Any:
    import gradio as gr

    def read(ready: str, request: gr.Request) -> None:
        """Read what was shown, and nothing else, whatever stands in the box by now."""
        user, said = state.users.require(request, "admin"), tongue(request)
        look = state.jobs.get(ready)
        if look is None or not isinstance(look.result, Looked):
            raise ReadError("no folder was looked at", TEXTS["en"]["look_first"])
        kb, folder = look.result.kb, look.result.folder
        added = add_folder(state.cfg, state.bases.make(kb), Path(folder), anywhere=True)
        noted(state, request, "folder.add", kb, added)
        begin_on_base(state, "index", kb, user.name, lambda progress: state.bases.update(kb, progress), said)

    return told(read)
