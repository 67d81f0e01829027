"""What the parts of the Knowledge tab share: who may, errors that are shown, lists one can press, long work."""

import functools
import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.running.audit import record
from app.running.jobs import Job
from app.ui.knowledge_result import TEXTS, title
from core.errors import RagstoneError

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index

_KINDS = ("plan", "index", "draft", "evaluate")


def told(run: Callable[..., Any]) -> Callable[..., Any]:
    """A callback whose `RagstoneError` is shown to whoever caused it; what the page shows stays."""

    @functools.wraps(run)
    def tell(*args: Any) -> Any:
        try:
            return run(*args)
        except RagstoneError as error:
            import gradio as gr

            request = next((arg for arg in args if isinstance(arg, gr.Request)), None)
            raise shown(error, tongue(request) if request else "en") from None

    return tell


def shown(error: RagstoneError | str, said: Tongue = "en") -> Exception:
    """An error as Gradio shows it: until it is closed, and without making anything of what it quotes."""
    import gradio as gr

    return gr.Error(html.escape(says(error, said)), duration=None, print_exception=False)


def opened(state: "State", request: Any, kb: str | None, role: Any = "reader") -> "Index":
    """A knowledge base, for somebody who may. Raises `AccessError`, `CatalogError`."""
    state.users.require(request, role, kb or "")
    return state.bases.get(kb or "")


def noted(state: "State", request: Any, what: str, on: str = "", detail: str = "") -> None:
    """Write what somebody just did on the page into the audit log."""
    record(state.bases.data, state.users.of(request).name or "page", what, on, detail)


def key(state: "State", kind: str, kb: str) -> str:
    """Names a job on a knowledge base; one that is made again under the name has none of the jobs of before."""
    return f"{kind} {kb} {state.bases.identity(kb)}"


def latest(state: "State", kb: str | None) -> Job | None:
    """The job on a knowledge base that is running, or else the last that did."""
    keys = [key(state, kind, kb) for kind in _KINDS] if kb else []
    jobs = [job for job in state.jobs.latest() if job.key in keys]
    return next((job for job in jobs if job.state == "running"), jobs[0] if jobs else None)


def begin(state: "State", kind: str, kb: str, owner: str, work: Callable[[Any], Any], tongue: Tongue) -> Job:
    """Start long work on a knowledge base; an error for Gradio where other work on it is running."""
    texts = TEXTS[tongue]
    running = latest(state, kb)
    if running is not None and running.state == "running":
        raise shown(texts["busy"].format(title(running, texts)))
    return state.jobs.start(key(state, kind, kb), kind, owner, work)


def pressable(value: object, label: str, chosen: bool = False) -> str:
    """A row of a list that can be pressed (app/ui/pressed.py); `value` is what the press tells."""
    return (
        f'<button type="button" class="rs-row" data-value="{html.escape(str(value))}"'
        f"{' aria-current=true' if chosen else ''}>{label}</button>"
    )


def for_editors(state: "State", *parts: Any) -> None:
    """Show parts of the tab to those only who may change a knowledge base; their callbacks check that anyway."""
    import gradio as gr

    def show(request: gr.Request) -> Any:
        shown = [gr.update(visible=state.users.of(request).may("editor")) for _ in parts]
        return shown if len(shown) > 1 else shown[0]

    gr.on(None, told(show), None, list(parts), api_visibility="private", show_progress="hidden")
