"""The third step of setting up: who writes the answers: a server that is found or named, or the app's own vLLM."""

import asyncio
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.running import model_server
from app.running.nearby import Server, look, models_of, trial
from app.running.taking import answer_by_folder, answer_by_server
from app.ui import pressed
from app.ui.knowledge_job import noted, pressable, shown, told
from app.ui.knowledge_result import lines, table
from app.ui.markup import markup
from app.ui.setup_folder import size
from app.ui.setup_part import Part
from app.upkeep.doctor import Check, verdict
from core.errors import ConfigError, ModelError, RagstoneError
from llm import registry
from llm.serve import is_hub_name

if TYPE_CHECKING:
    from app.running.bases import State

_MODELS = 40  # of a server that are named
_NOT_SERVED = ("adapter", "embedder", "reranker")

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "m_about": "Without a model, answers quote your documents; with one they are written, and cite them.",
        "m_found": "Found on this machine:", "m_again": "Look again",
        "m_not_found": "No model server answers on this machine (ports {}). Start Ollama, LM Studio, llama.cpp or vLLM "
        "and look again; or give an address, or a model folder.",
        "m_no_ports": "No port of this machine is asked for a model server (llm.ports): give an address or a folder.",
        "m_url": "Address of an OpenAI-compatible server", "m_key": "Its key, where it wants one (never shown again)",
        "m_model": "Model; empty takes the first", "m_test": "Test", "m_use": "Use it",
        "m_said": "✓ {} answers after {:.1f} s: “{}”", "m_thinks": "✓ {} answers after {:.1f} s; it thinks first.",
        "m_context": "It reads {:,} tokens.", "m_used": "✓ {} writes the answers from now on.",
        "m_none": "Give an address, or choose a server.", "m_not_there": "it does not serve {!r}",
        "m_own": "Or a model folder, served by the app's own vLLM",
        "m_folder": "Model folder on the machine that runs the app", "m_check": "Check it", "m_serve": "Serve it",
        "m_folder_none": "Give a model folder.", "m_what": "what", "m_result": "found", "m_hint": "what to do",
        "m_starting": "The model server is starting", "m_serves": "✓ The app's own vLLM serves {}.",
        "m_failed": "The model server did not start",
    },
    "zh": {
        "m_about": "没有模型时，回答直接引用文档；有了模型，回答由它撰写，并注明出处。",
        "m_found": "在本机找到：", "m_again": "重新查找",
        "m_not_found": "本机没有模型服务应答（端口 {}）。请启动 Ollama、LM Studio、llama.cpp 或 vLLM 后重新查找，"
        "或填写地址，或给出模型文件夹。",
        "m_no_ports": "没有设置在本机哪些端口上寻找模型服务（llm.ports）：请填写地址，或给出模型文件夹。",
        "m_url": "兼容 OpenAI 的服务地址", "m_key": "其密钥（如需要；之后不再显示）",
        "m_model": "模型；留空为第一个", "m_test": "测试", "m_use": "使用它",
        "m_said": "✓ {} 在 {:.1f} 秒后应答：“{}”", "m_thinks": "✓ {} 在 {:.1f} 秒后应答；它会先思考。",
        "m_context": "它可读 {:,} 个词元。", "m_used": "✓ 今后由 {} 撰写回答。",
        "m_none": "请填写地址，或选择一个服务。", "m_not_there": "它不提供 {!r}",
        "m_own": "或者：模型文件夹，由本应用自带的 vLLM 提供服务",
        "m_folder": "运行本应用的机器上的模型文件夹", "m_check": "检查", "m_serve": "启动服务",
        "m_folder_none": "请填写模型文件夹。", "m_what": "项目", "m_result": "结果", "m_hint": "建议",
        "m_starting": "模型服务正在启动", "m_serves": "✓ 本应用自带的 vLLM 正在服务 {}。",
        "m_failed": "模型服务未能启动",
    },
}  # fmt: skip


def build(state: "State", say: Any, kb: str) -> Part:
    """The step."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    listed, pick = markup("setup-servers"), pressed.box("setup-servers")
    again = gr.Button(say("m_again"), size="sm", elem_id="setup-look-again")
    with gr.Row():
        url = gr.Textbox("", label=say("m_url"), max_lines=1, max_length=2000, elem_id="setup-url", min_width=220)
        model = gr.Textbox("", label=say("m_model"), max_lines=1, max_length=500, elem_id="setup-model", min_width=160)
        key = gr.Textbox("", label=say("m_key"), max_lines=1, max_length=2000, type="password", elem_id="setup-key",
                         min_width=160)  # fmt: skip
    with gr.Row():
        test = gr.Button(say("m_test"), elem_id="setup-test", min_width=90)
        use = gr.Button(say("m_use"), variant="primary", elem_id="setup-use-server", min_width=90)
    said = markup("setup-tried")
    with gr.Accordion(say("m_own"), open=False, elem_id="setup-own"):
        folders, taken = markup("setup-models"), pressed.box("setup-models")
        folder = gr.Textbox("", label=say("m_folder"), max_lines=1, max_length=4096, elem_id="setup-folder")
        with gr.Row():
            check = gr.Button(say("m_check"), elem_id="setup-check", min_width=90)
            serve = gr.Button(say("m_serve"), variant="primary", elem_id="setup-serve", min_width=90)
        checked = markup("setup-checked")
    status = markup("setup-status")
    pick.change(_picker(state), [pick], [url, model], **quietly)
    test.click(_tester(state), [url, key, model], said, api_visibility="private", concurrency_limit=4)
    used = use.click(_user(state), [url, key, model], [said, key], api_visibility="private", concurrency_limit=4)
    taken.change(_taker(state), [taken], [folder], **quietly)
    check.click(_checker(state), [folder], checked, api_visibility="private")
    served = serve.click(_server(state), [folder], checked, api_visibility="private")
    looked = again.click(_admin(state), None, None, **quietly)
    return Part([status], [listed, folders], [used, served], [used, served, looked])


async def lists(state: "State", said: Tongue) -> list[Any]:
    """The model servers of this machine, and the models of the data folder."""
    texts, ports = TEXTS[said], state.cfg.llm.ports
    found = await look(ports)
    none = texts["m_not_found"].format(", ".join(ports)) if ports else texts["m_no_ports"]
    body = _found(found, said) if found else lines([none])
    models = await asyncio.to_thread(registry.models, Path(state.cfg.app.data))
    rows = [
        f"<li>{pressable(m.folder, f'<b>{html.escape(m.name)}</b> · {size(m.bytes)}')}</li>"
        for m in models if not m.problem and m.kind not in _NOT_SERVED
    ]  # fmt: skip
    return [lines([texts["m_about"]]) + body, f'<ul class="rs-rows">{"".join(rows)}</ul>' if rows else ""]


def _found(servers: list[Server], said: Tongue) -> str:
    items = ""
    for server in servers:
        where = html.escape(f"{server.name}, {server.base_url}")
        for model in server.models[:_MODELS]:
            label = f'<b>{html.escape(model)}</b><span class="rs-about">{where}</span>'
            items += f"<li>{pressable(f'{server.base_url} {model}', label)}</li>"
    return f'{lines([TEXTS[said]["m_found"]])}<ul class="rs-rows">{items}</ul>'


def panel(state: "State", said: Tongue) -> str:
    """How the app's own model server does."""
    texts = TEXTS[said]
    starting = any(job.state == "running" for job in state.jobs.latest(model_server.JOB))
    if starting:
        told_ = html.escape(says(state.vllm_status, said))
        return f'<div class="rs-job" role="status">⏳ {texts["m_starting"]}: {told_}</div>'
    if state.vllm is not None:
        return lines([texts["m_serves"].format(state.vllm.status().model)])
    if state.vllm_status:
        problem = html.escape(f"{texts['m_failed']}: {says(state.vllm_status, said)}")
        return f'<pre class="rs-problem" role="alert">{problem}</pre>'
    return ""


def _picker(state: "State") -> Any:
    import gradio as gr

    def pick(what: str, request: gr.Request) -> Any:
        state.users.require(request, "admin")
        url, _, model = pressed.read(what).get("value", "").partition(" ")
        return url, model

    return told(pick)


def _admin(state: "State") -> Any:
    import gradio as gr

    def may(request: gr.Request) -> None:
        state.users.require(request, "admin")

    return told(may)


def _key(state: "State", url: str, typed: str) -> str:
    """The key for an address: the typed one, or the stored one of the same address."""
    return typed.strip() or (state.cfg.llm.api_key if url == state.cfg.llm.base_url else "")


def _tester(state: "State") -> Any:
    import gradio as gr

    async def test(url: str, key: str, model: str, request: gr.Request) -> str:
        await asyncio.to_thread(_admin(state), request)
        said, url = tongue(request), url.strip().rstrip("/")
        texts = TEXTS[said]
        if not url:
            raise shown(texts["m_none"])
        told_by = {"base_url": url, "model": model.strip(), "api_key": _key(state, url, key)}
        try:
            tried = await trial(state.cfg.llm.model_copy(update=told_by), said)
        except RagstoneError as error:
            return f'<pre class="rs-problem" role="alert">✗ {html.escape(says(error, said))}</pre>'
        form = "m_said" if tried.said else "m_thinks"
        context = [texts["m_context"].format(tried.context)] if tried.context else []
        return lines([texts[form].format(tried.model, tried.seconds, tried.said), *context])

    return test


def _user(state: "State") -> Any:
    import gradio as gr

    async def use(url: str, key: str, model: str, request: gr.Request) -> Any:
        """Have a server write the answers that says to serve the model."""
        await asyncio.to_thread(_admin(state), request)
        said, url, model = tongue(request), url.strip().rstrip("/"), model.strip()
        texts = TEXTS[said]
        if not url:
            raise shown(texts["m_none"])
        try:
            models = await models_of(url, _key(state, url, key))
            if model and model not in models:
                raise ModelError(
                    f"{url} does not serve model {model!r}", f"set llm.model to one of: {', '.join(models)}"
                )
            await asyncio.to_thread(answer_by_server, state, url, model, key.strip())
        except RagstoneError as error:
            return f'<pre class="rs-problem" role="alert">✗ {html.escape(says(error, said))}</pre>', gr.skip()
        await asyncio.to_thread(noted, state, request, "model.use", model or models[0], url)
        return lines([texts["m_used"].format(model or models[0])]), ""

    return use


def _taker(state: "State") -> Any:
    import gradio as gr

    def take(what: str, request: gr.Request) -> str:
        state.users.require(request, "admin")
        return pressed.read(what).get("value", "")

    return told(take)


def _verdict(state: "State", folder: str, said: Tongue) -> tuple[bool, str]:
    """What doctor says of a model folder: whether it can be served, and its checks as a table."""
    texts, path = TEXTS[said], folder.strip()
    if not path:
        raise shown(texts["m_folder_none"])
    if is_hub_name(path) or not Path(path).expanduser().is_dir():
        raise ModelError(f"model folder {path!r} does not exist", "`ragstone pull` fetches one; or give another folder")
    checks: list[Check] = verdict(state.cfg, path)
    rows = [(f"{'✓' if c.ok else '✗'} {says(c.name, said)}", says(c.detail, said), says(c.hint, said)) for c in checks]
    return all(check.ok for check in checks), table([texts[key] for key in ("m_what", "m_result", "m_hint")], rows)


def _checker(state: "State") -> Any:
    import gradio as gr

    def check(folder: str, request: gr.Request) -> str:
        state.users.require(request, "admin")
        return _verdict(state, folder, tongue(request))[1]

    return told(check)


def _server(state: "State") -> Any:
    import gradio as gr

    def serve(folder: str, request: gr.Request) -> str:
        """Start vLLM on a folder that doctor finds nothing wrong with."""
        user, said = state.users.require(request, "admin"), tongue(request)
        good, checks = _verdict(state, folder, said)
        if not good:
            return checks
        if state.vllm is not None and state.vllm.failure() is None:
            raise ConfigError("the model server runs already", "stop it first, in the Models tab")
        answer_by_folder(state, str(Path(folder.strip()).expanduser()))
        noted(state, request, "model.serve", folder.strip())
        model_server.begin(state, user.name)
        return checks

    return told(serve)
