"""Where a knowledge base comes from: its folders and what was uploaded, and bringing it up to date with them."""

import html
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.keeping.folders import add_folder, remove_folder
from app.keeping.plan import forecast
from app.messages.texts import Tongue, tongue
from app.ui.choice import choice
from app.ui.knowledge_job import begin, for_editors, noted, opened, shown, told
from app.ui.knowledge_result import table
from app.ui.markup import markup
from app.ui.together import Together
from core.sources import in_bucket, in_web

if TYPE_CHECKING:
    from app.running.bases import State

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "folder": "Folder", "in_it": "documents", "where": "on disk", "there": "there", "away": "not there",
        "bucket": "in a bucket", "web": "on the web",
        "uploaded": "uploaded files", "no_folder": "It follows no folder yet: add one, or upload files.",
        "plan": "Compare with the folders", "add": "Add folder",
        "add_path": "Path of a folder on the server, s3://bucket/prefix, or https://host/page",
        "remove_which": "Folder to remove", "remove": "Remove…", "keep": "Keep it", "really": "Yes, remove it",
        "ask_remove": "Remove “{}”? Its {} documents leave the knowledge base; the files stay where they are.",
        "upload_files": "Files to add", "upload": "Upload and index", "upload_none": "Choose at least one file first.",
        "path_none": "Give the path of a folder.", "choose_none": "Choose a folder first.",
        "manage": "Add or remove folders", "no_kb": "Choose or make a knowledge base first.",
    },
    "zh": {
        "folder": "文件夹", "in_it": "文档数", "where": "磁盘上", "there": "存在", "away": "不存在",
        "bucket": "在存储桶中", "web": "在网上",
        "uploaded": "上传的文件", "no_folder": "尚未跟踪任何文件夹：请添加一个，或上传文件。",
        "plan": "与文件夹比较", "add": "添加文件夹",
        "add_path": "服务器上文件夹的路径、s3://存储桶/前缀，或 https://主机/网页",
        "remove_which": "要移除的文件夹", "remove": "移除……", "keep": "保留", "really": "确定移除",
        "ask_remove": "移除“{}”？其中 {} 个文档将离开知识库；文件本身保留在原处。",
        "upload_files": "要添加的文件", "upload": "上传并建立索引", "upload_none": "请先选择至少一个文件。",
        "path_none": "请填写文件夹的路径。", "choose_none": "请先选择一个文件夹。",
        "manage": "添加或移除文件夹", "no_kb": "请先选择或新建一个知识库。",
    },
}  # fmt: skip


def build(state: "State", say: Any, chosen: Any, turn: Any, together: Together, follow: Any) -> None:
    """The part of the tab. `chosen`: the knowledge base; `turn` changes when it may have; `follow` shows a job."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    folders = markup("knowledge-folders")
    with gr.Column(visible=False) as editing:
        plan = gr.Button(say("plan"), variant="primary", elem_id="knowledge-plan")
        with gr.Group():
            files = gr.File(label=say("upload_files"), file_count="multiple", height=140, elem_id="knowledge-upload")
            upload = gr.Button(say("upload"), elem_id="knowledge-upload-button")
        with gr.Accordion(say("manage"), open=False, elem_id="knowledge-manage"):
            path = gr.Textbox("", label=say("add_path"), max_lines=1, elem_id="knowledge-path")
            add = gr.Button(say("add"), elem_id="knowledge-add")
            which = choice(label=say("remove_which"), elem_id="knowledge-which")
            remove = gr.Button(say("remove"), elem_id="knowledge-remove")
            with gr.Group(visible=False) as asking:
                question = markup("knowledge-remove-ask", padding=True)
                with gr.Row():
                    really = gr.Button(say("really"), variant="stop", elem_id="knowledge-remove-yes")
                    keep = gr.Button(say("keep"), elem_id="knowledge-remove-no")
    for_editors(state, editing)
    look = _folders(state)
    together.when([chosen], look, [chosen], [folders, which, asking])
    together.when([turn], _again(look), [chosen, which], [folders, which, asking])
    follow(plan.click(_planner(state), chosen, None, **quietly))
    follow(upload.click(_uploader(state), [files, chosen], files, **quietly))
    add.click(_adder(state), [path, chosen], path, **quietly).success(look, chosen, [folders, which, asking], **quietly)
    remove.click(_asker(state), [which, chosen], [asking, question], **quietly)
    keep.click(lambda: gr.update(visible=False), None, asking, **quietly)
    really.click(_remover(state, look), [which, chosen], [turn, folders, which, asking], api_visibility="private")


def _folders(state: "State") -> Any:
    import gradio as gr

    def look(kb: str | None, request: gr.Request) -> Any:
        """The folders with what came from each, and the choices of what may be removed."""
        texts, hidden = TEXTS[tongue(request)], gr.update(visible=False)
        if not kb:
            return "", gr.Dropdown(choices=[], value=None), hidden
        index, own = opened(state, request, kb), str(state.bases.uploads(kb))
        known = [folder for folder in index.catalog.folders() if folder]
        rows = [
            (
                texts["uploaded"] if folder == own else folder,
                index.catalog.documents_of(folder),
                _where(folder, texts),
            )
            for folder in known
        ]
        shown_rows = table((texts["folder"], texts["in_it"], texts["where"]), rows) if rows else ""
        none = f'<div class="rs-empty">{html.escape(texts["no_folder"])}</div>'
        return shown_rows or none, gr.Dropdown(choices=known, value=None), hidden

    return told(look)


def _where(source: str, texts: dict[str, str]) -> str:
    if in_bucket(source) or in_web(source):
        return texts["bucket" if in_bucket(source) else "web"]
    return texts["there"] if Path(source).is_dir() else f"⚠️ {texts['away']}"


def _again(look: Any) -> Any:
    """The same once work on a knowledge base ended: what was picked meanwhile stays."""
    import gradio as gr

    def again(kb: str | None, picked: str | None, request: gr.Request) -> Any:
        rows, choices, hidden = look(kb, request)
        if picked and kb and picked in [name for name, _ in choices.choices]:
            return rows, gr.Dropdown(choices=choices.choices, value=picked), gr.skip()
        return rows, choices, hidden

    return told(again)


def _planner(state: "State") -> Any:
    import gradio as gr

    def plan(kb: str, request: gr.Request) -> None:
        user = state.users.require(request, "editor", kb)

        def work(progress: Any) -> Any:
            return forecast(state.cfg, kb, embedder=state.bases.embedder, progress=progress)

        begin(state, "plan", kb, user.name, work, tongue(request))

    return told(plan)


def _uploader(state: "State") -> Any:
    import gradio as gr

    def upload(files: list[str] | None, kb: str | None, request: gr.Request) -> None:
        """Store and index in the background; the copies that Gradio received go once the knowledge base has its own."""
        user, said = state.users.require(request, "editor", kb or ""), tongue(request)
        if not kb or not files:
            raise shown(TEXTS[said]["upload_none" if kb else "no_kb"])
        received = [Path(file) for file in files]

        def work(progress: Any) -> Any:
            try:
                return state.bases.upload(kb, received, progress)
            finally:
                for file in received:
                    file.unlink(missing_ok=True)

        begin(state, "index", kb, user.name, work, said)

    return told(upload)


def _adder(state: "State") -> Any:
    import gradio as gr

    def add(path: str, kb: str, request: gr.Request) -> str:
        index = opened(state, request, kb, "editor")
        if not path.strip():
            raise shown(TEXTS[tongue(request)]["path_none"])
        anywhere = state.users.of(request).may("admin")
        added = add_folder(state.cfg, index, path.strip(), anywhere=anywhere)
        noted(state, request, "folder.add", kb, added)
        return ""

    return told(add)


def _asker(state: "State") -> Any:
    import gradio as gr

    def ask(folder: str | None, kb: str, request: gr.Request) -> Any:
        index, texts = opened(state, request, kb, "editor"), TEXTS[tongue(request)]
        if not folder:
            raise shown(texts["choose_none"])
        question = texts["ask_remove"].format(folder, index.catalog.documents_of(folder))
        return gr.update(visible=True), f'<div role="alert">{html.escape(question)}</div>'

    return told(ask)


def _remover(state: "State", look: Any) -> Any:
    import gradio as gr

    def remove(folder: str, kb: str, request: gr.Request) -> Any:
        """What is chosen no longer is one of the choices: both change at once, else Gradio refuses what comes next."""
        remove_folder(opened(state, request, kb, "editor"), folder)
        noted(state, request, "folder.remove", kb, folder)
        return f"without {folder} since {time.time()}", *look(kb, request)

    return told(remove)
