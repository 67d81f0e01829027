"""What is chosen for one file on the Knowledge tab: it is left out, taken in again, or pages of it are read by OCR."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.answering.view import passage
from app.keeping.choosing import pages_of
from app.keeping.index import Report
from app.messages.texts import Tongue, tongue
from app.running.library import FileRow, leave_out, read_by_ocr, take_in, unlock
from app.running.taking import check_free, take
from app.ui.knowledge_job import begin, noted, opened, shown, told
from app.ui.together import Together
from core.types import Choice
from ingest.readers.package import ASK

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index

Row = Callable[[Any, str, str, str], FileRow]  # of a request, a knowledge base, the chosen file, and a role

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "leave_out": "Leave this file out", "take_in": "Take it in again", "by_ocr": "Read these pages by OCR",
        "not_by_ocr": "Read no page by OCR", "ocr_pages": "Pages", "no_pages": "Write which pages, like 3, 5-7.",
        "chosen_pages": "pages to be read by OCR", "password": "Its password", "unlock": "Read it by this password",
        "keep_password": "Keep the password, and try it on other files",
    },
    "zh": {
        "leave_out": "不收录此文件", "take_in": "重新收录", "by_ocr": "用 OCR 读取这些页",
        "not_by_ocr": "不再用 OCR 读取", "ocr_pages": "页码", "no_pages": "请填写页码，例如 3, 5-7。",
        "chosen_pages": "指定用 OCR 读取的页", "password": "文件密码", "unlock": "用此密码读取",
        "keep_password": "保存此密码，并用于其他文件",
    },
}  # fmt: skip


def build(state: "State", say: Any, seen: tuple[Any, Any, Any, Any], row: Row, together: Together, follow: Any) -> None:
    """The controls. `seen`: the knowledge base, the chosen file, what is told to have changed, and the passage shown.

    `row` gives the chosen file; `follow` shows a job that is begun.
    """
    import gradio as gr

    chosen, file, turn, chunk = seen
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Row():
        leave = gr.Button(say("leave_out"), size="sm", visible=False, elem_id="knowledge-leave-out")
        take = gr.Button(say("take_in"), size="sm", visible=False, elem_id="knowledge-take-in")
    with gr.Row(visible=False) as paged:
        pages = gr.Textbox("", label=say("ocr_pages"), max_lines=1, min_width=90, elem_id="knowledge-ocr-pages")
        by_ocr = gr.Button(say("by_ocr"), size="sm", elem_id="knowledge-ocr")
        not_by_ocr = gr.Button(say("not_by_ocr"), size="sm", visible=False, elem_id="knowledge-no-ocr")
    with gr.Column(visible=False) as locked:
        with gr.Row():
            password = gr.Textbox(
                "", label=say("password"), type="password", max_lines=1, min_width=160, elem_id="knowledge-password"
            )
            kept = gr.Checkbox(label=say("keep_password"), visible=False, elem_id="knowledge-password-keep")
        unlocks = gr.Button(say("unlock"), size="sm", elem_id="knowledge-unlock")
    together.when([chosen, file, turn], _locked(state, row), [chosen, file], [locked, kept, password])
    follow(unlocks.click(_unlocker(state, row), [chosen, file, password, kept], password, **quietly))
    together.when([chosen, file, turn], _offers(state, row), [chosen, file], [leave, take, paged, not_by_ocr])
    together.when([chosen, chunk], _page(state), [chosen, chunk], [pages])
    follow(leave.click(_chooser(state, row, "file.leave_out", leave_out), [chosen, file], None, **quietly))
    follow(take.click(_chooser(state, row, "file.take_in", take_in), [chosen, file], None, **quietly))
    follow(by_ocr.click(_recogniser(state, row), [chosen, file, pages], None, **quietly))
    follow(not_by_ocr.click(_recogniser(state, row, none=True), [chosen, file, pages], None, **quietly))


def choice_of(index: "Index", row: FileRow) -> Choice:
    """What somebody chose for a file."""
    return index.catalog.choices(row.folder).get(row.path, Choice())


def still_there(row: Row, request: Any, kb: str | None, file: str) -> FileRow | None:
    """The chosen file, for a reader; None where none is, it left meanwhile, or is of the knowledge base before."""
    import gradio as gr

    if not kb or not file:
        return None
    try:
        return row(request, kb, file, "reader")
    except gr.Error:
        return None


def _offers(state: "State", row: Row) -> Any:
    import gradio as gr

    def offer(kb: str | None, file: str, request: gr.Request) -> Any:
        """What can be chosen for a file, as it is now."""
        found = still_there(row, request, kb, file)
        if not kb or found is None:
            return [gr.update(visible=False)] * 4
        choice = choice_of(state.bases.get(kb), found)
        paged = found.card is not None and bool(found.card.pages) and found.path.lower().endswith(".pdf")
        offered = (not found.left_out, choice.left_out, paged, bool(choice.ocr_pages))
        return [gr.update(visible=visible) for visible in offered]

    return told(offer)


def _page(state: "State") -> Any:
    import gradio as gr

    def number(kb: str | None, chunk: tuple[str, int], request: gr.Request) -> str:
        """The page of the passage that is shown."""
        named, chunk_id = chunk
        if not kb or not chunk_id or named != kb:
            return ""
        page = passage(opened(state, request, kb), chunk_id).page
        return str(page or "")

    return told(number)


def _chooser(state: "State", row: Row, deed: str, work: Any) -> Any:
    import gradio as gr

    def choose(kb: str, file: str, request: gr.Request) -> None:
        found, user = row(request, kb, file, "editor"), state.users.of(request)
        run = lambda progress: work(state.bases, kb, [(found.folder, found.path)], progress)  # noqa: E731
        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, deed, kb, found.path)

    return told(choose)


def _recogniser(state: "State", row: Row, *, none: bool = False) -> Any:
    import gradio as gr

    def recognise(kb: str, file: str, pages: str, request: gr.Request) -> None:
        found, user = row(request, kb, file, "editor"), state.users.of(request)
        before = choice_of(state.bases.get(kb), found).ocr_pages
        more = [] if none else pages_of(pages)
        if not none and not more:
            raise shown(TEXTS[tongue(request)]["no_pages"])
        wanted = sorted({*before, *more}) if more else []
        run = lambda progress: read_by_ocr(state.bases, kb, (found.folder, found.path), wanted, progress)  # noqa: E731
        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, "file.ocr", kb, found.path)

    return told(recognise)


def _locked(state: "State", row: Row) -> Any:
    import gradio as gr

    def look(kb: str | None, file: str, request: gr.Request) -> Any:
        """Whether the chosen file waits for its password; admins may keep it."""
        found = still_there(row, request, kb, file)
        if found is None:
            return [gr.update(visible=False), gr.update(visible=False, value=False), ""]
        user = state.users.of(request)
        waits = found.failure is not None and found.failure.hint.startswith(ASK) and user.may("editor")
        return gr.update(visible=waits), gr.update(visible=waits and user.may("admin"), value=False), ""

    return told(look)


def _unlocker(state: "State", row: Row) -> Any:
    import gradio as gr

    def read(kb: str, file: str, password: str, kept: bool, request: gr.Request) -> str:
        found, user = row(request, kb, file, "editor"), state.users.of(request)
        if kept:
            state.users.require(request, "admin", kb)
            check_free(state.settings, "ingest.passwords")

        def run(progress: Any) -> Report:
            report = unlock(state.bases, kb, (found.folder, found.path), password, progress)
            known = state.cfg.ingest.passwords
            if kept is True and password not in known:
                take(state, {"ingest.passwords": [*known, password]})
            return report

        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, "file.unlock", kb, found.path)
        return ""

    return told(read)
