"""The page: a tab for each thing to do, put together from the modules beside this one.

A tab is a module with `NAME`, `ROLE` (who sees it), `TEXTS` (what it says, by language) and `build(state, say, kb)`,
which makes its widgets inside the tab; `say("key")` is a label that the browser shows in its language.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.ui import chat

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from app.bases import State

TABS = (chat,)


def mount(api: "FastAPI", state: "State", kb: str) -> "FastAPI":
    """The API with the UI at `/`."""
    import gradio as gr
    from gradio.themes import Soft

    font = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
    theme = Soft(primary_hue="teal", font=font, font_mono=["ui-monospace", "monospace"])
    css = Path(__file__).with_name("page.css").read_text("utf-8")
    words = {t: {f"{m.NAME}_{key}": text for m in TABS for key, text in m.TEXTS[t].items()} for t in ("en", "zh")}
    i18n = gr.I18n(**{"en": words["en"], "zh": words["zh"], "zh-CN": words["zh"]})
    return gr.mount_gradio_app(
        api, _blocks(state, kb, i18n), path="/", theme=theme, css=css, i18n=i18n, ssr_mode=False, show_error=True,
        max_file_size=state.cfg.app.max_upload_mb * 1024 * 1024, footer_links=[], blocked_paths=[state.cfg.app.data],
        enable_monitoring=False,
    )  # fmt: skip


def _blocks(state: "State", kb: str, i18n: "gr.I18n") -> "gr.Blocks":
    import gradio as gr

    hourly = (3600, 3600)  # when to look for copies of uploads that could not be indexed, and how old they get: seconds
    with (
        gr.Blocks(
            title="Ragstone", analytics_enabled=False, fill_height=True, fill_width=True, delete_cache=hourly
        ) as blocks,
        gr.Tabs(elem_id="tabs"),
    ):
        for tab in TABS:
            say: Any = lambda key, name=tab.NAME: i18n(f"{name}_{key}")  # noqa: E731
            with gr.Tab(say("tab"), id=tab.NAME, elem_id=f"tab-{tab.NAME}"):
                tab.build(state, say, kb)
    return blocks
