"""Recipe: examine what the configuration needs, and say what is missing and how to mend it."""

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.answering.backend import resolve
from app.answering.plan import request
from app.running.directory import Directory
from app.running.provider import Provider
from app.running.users import Users
from core import plugins
from core.config import Config
from core.errors import RagstoneError
from ingest.plugged import reader, reader_of, splitter
from ingest.read import SUFFIXES
from llm import adapters, fit
from llm.endpoint import Endpoint, probe
from llm.kinds import Kind, kinds
from llm.serve import check_adapters, check_model, is_hub_name, model_path
from llm.supervise import Status, addresses, read_status
from llm.vllm_env import build_of, ready
from prompts.context import estimate_tokens
from retrieval.embed import MULTILINGUAL, Embedder
from retrieval.index import Index
from retrieval.plugged import embedder_of, reranker

_LOW_SPACE = 1 << 30
_ALIKE = 0.999  # cosine of the same text by the same model, in bfloat16 too
_LEAST_ROOM = 500  # tokens of passages below which answers lack their sources


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was examined."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def examine(cfg: Config) -> list[Check]:
    """All checks, in the order a question passes through them."""
    embedder = embedder_of(cfg.retrieval)
    status = read_status(Path(cfg.app.data) / "logs" / "vllm.log") if _serves(cfg) else None
    return [
        _data(Path(cfg.app.data)), *_plugins(cfg), *_embedder(embedder), *_knowledge_bases(cfg, embedder),
        *_served_model(cfg, status), *_replicas(status), *_endpoints(cfg, status), *_answers(cfg), *_elsewhere(cfg),
    ]  # fmt: skip


def _data(folder: Path) -> Check:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {free / 2**30:.1f} GiB free"
    if not os.access(existing, os.W_OK):
        return Check("data folder", False, f"{detail}; not writable", "set RAGSTONE_DATA to a folder you can write")
    return Check("data folder", free > _LOW_SPACE, detail, "" if free > _LOW_SPACE else "free some space")


def _plugins(cfg: Config) -> list[Check]:
    """What is installed, and whether it can be imported; and whether what config.toml names can be made."""
    checks = [_plugin(each, cfg) for each in plugins.installed()]
    tried: list[tuple[str, str, Callable[[], object]]] = [
        (f"reader of {suffix}", name, partial(reader, suffix, name, cfg.ingest))
        for suffix, name in cfg.ingest.readers.items()
    ]
    if cfg.ingest.chunker:
        tried.append(("chunker", cfg.ingest.chunker, partial(splitter, cfg.ingest)))
    if plugins.is_named(cfg.retrieval.reranker):
        tried.append(("reranker", cfg.retrieval.reranker, partial(reranker, cfg.retrieval)))
    for what, name, make in tried:
        try:
            make()
            checks.append(Check(what, True, name))
        except RagstoneError as error:
            checks.append(Check(what, False, error.message, error.hint))
    return checks


def _plugin(plugin: plugins.Installed, cfg: Config) -> Check:
    """Whether it can be imported and, where files are read by it, made; whether they are is said."""
    name, detail = f"plug-in {plugin.name!r}", f"of {plugin.package} {plugin.version} (ragstone.{plugin.kind})"
    if why := plugins.problem(plugin):
        hint = "mend or uninstall its package; all else goes on without it"
        return Check(name, False, f"{detail}: {why}", hint)
    if plugin.kind != "readers":
        return Check(name, True, detail)
    suffix, called = f".{plugin.name}", f"plugin:{plugin.name}"
    reads = reader_of(suffix, cfg.ingest, suffix in SUFFIXES)
    if reads.lower() == called:
        try:
            reader(suffix, reads, cfg.ingest)
        except RagstoneError as error:
            return Check(name, False, f"{detail}: {error.message}", error.hint)
    elif called not in map(str.lower, cfg.ingest.readers.values()):
        who = f"{reads} reads {suffix}" if reads else f"Ragstone reads {suffix} itself"
        detail += f'; not used: {who}; [ingest] readers = {{ "{suffix}" = "{called}" }} changes that'
    return Check(name, True, detail)


def _embedder(embedder: Embedder) -> list[Check]:
    try:
        english, chinese = embedder.read(["How many days of annual leave do I have?", "年假有几天？怎么申请？"])
        detail = f"{embedder.name}, {embedder.dimension} numbers a vector, reads {embedder.max_tokens} tokens"
    except RagstoneError as error:
        return [Check("embedder", False, error.message, error.hint)]
    languages = [name for name, reading in (("English", english), ("Chinese", chinese)) if reading.readable]
    models = ", ".join(('"multilingual"', *MULTILINGUAL) if embedder.is_default else MULTILINGUAL)
    hint = "" if chinese.readable else f"Chinese is found by words only; {models} (retrieval.embedder) read it"
    return [
        Check("embedder", True, f"{detail}; reads {' and '.join(languages) or 'neither English nor Chinese'}", hint)
    ]


def _knowledge_bases(cfg: Config, embedder: Embedder) -> list[Check]:
    checks = []
    for name in Index.names(Path(cfg.app.data), cfg.app.database):
        try:
            index = Index.open(Path(cfg.app.data), name, embedder, cfg.app.database)
            counts = index.counts()
            index.close()
        except RagstoneError as error:
            checks.append(Check(f"knowledge base {name!r}", False, error.message, error.hint))
        else:
            detail = f"{counts.documents} documents, {counts.chunks} chunks, {counts.dense} with a vector"
            checks.append(Check(f"knowledge base {name!r}", True, detail))
    return checks or [Check("knowledge bases", True, "none yet", "make one with `ragstone index FOLDER --kb NAME`")]


def _serves(cfg: Config) -> bool:
    return bool(cfg.llm.vllm_model) and cfg.llm.backend in ("auto", "vllm")


# --- the model that vLLM serves --------------------------------------------------------------------------------------


def _served_model(cfg: Config, status: Status | None) -> list[Check]:
    """Whether its files are a chat model's, their format has a kernel here, and it fits the card."""
    if not _serves(cfg):
        return []
    model = model_path(cfg.llm)
    try:
        check_model(cfg.llm)
        check_adapters(cfg.llm)
        if is_hub_name(cfg.llm.vllm_model):
            hint = f"`ragstone pull {model}` fetches it, checked and for offline use; then it can be examined"
            return [Check("model files", True, f"{model} is downloaded by vLLM when it starts", hint)]
        build = build_of(cfg.llm)
        hardware = fit.device(build)
        form = fit.quantized_as(fit.config_of(Path(model)))
        reason = fit.no_kernel(form, hardware)
        files = Check("model files", True, f"{model}: whole, with a chat template, {form or 'not quantized'}")
        if reason:
            return [files, Check("kernels", False, reason, "`ragstone quantize` makes another format")]
        return [files, _memory(cfg, fit.need(cfg.llm, build), hardware, running=_running(status))]
    except RagstoneError as error:
        return [Check("model files", False, error.message, error.hint)]


def verdict(cfg: Config, folder: str) -> list[Check]:
    """Whether the app's own vLLM could serve a model folder here, before it is started."""
    llm = cfg.llm.model_copy(update={"vllm_model": folder, "backend": "auto"})
    status = read_status(Path(cfg.app.data) / "logs" / "vllm.log")
    checks = _served_model(cfg.model_copy(update={"llm": llm}), status)
    if all(check.ok for check in checks):
        detail = f"{cfg.llm.vllm_env}, {build_of(cfg.llm)} build"
        made = "" if ready(cfg.llm) else "it is made by the first start: several GB are downloaded"
        checks.append(Check("vLLM's environment", True, detail, made))
    return checks


def _running(status: Status | None) -> bool:
    return status is not None and any(replica.state == "running" for replica in status.replicas)


def _memory(cfg: Config, need: fit.Need, hardware: fit.Device, *, running: bool) -> Check:
    """Whether weights, adapters and the KV cache of one whole context fit; how many tokens the cache holds."""
    on_gpu = hardware.capability > 0
    given = int(hardware.total * cfg.llm.vllm_memory) if on_gpu else hardware.free
    fixed = need.weights + need.adapters + need.workspace
    cache = max(0, given - fixed) if on_gpu else cfg.llm.vllm_cpu_kv_gb << 30
    tokens = cache // max(need.per_token, 1)
    detail = f"weights {_gib(need.weights)}, adapters {_gib(need.adapters)}, beside {_gib(need.workspace)}"
    if need.per_token:
        detail += f", KV cache {need.per_token / 1024:.4g} KiB a token: room for {tokens:,} tokens"
    detail += f"; {hardware.name}: {_gib(given)} of {_gib(hardware.total)}"
    if running:
        return Check("memory", True, f"{detail} (in use by the running vLLM)")
    if (fixed if on_gpu else fixed + cache) > given:
        hint = "serve a smaller or quantized model, end other programs, or lower llm.vllm_cpu_kv_gb (CPU)"
        return Check("memory", False, f"{detail}; it does not fit", hint)
    if need.per_token and need.context > tokens:
        hint = f"set llm.vllm_max_model_len to at most {tokens}, or give the cache more memory"
        return Check("memory", False, f"{detail}; one context of {need.context:,} tokens does not fit", hint)
    return Check("memory", True, detail)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _replicas(status: Status | None) -> list[Check]:
    """What the app that is running now keeps running, and why replicas crashed."""
    checks = []
    for row in adapters.report(status)["replicas"] if status else ():
        failed = row["state"] == "failed"
        up = f", pid {row['pid']}, up {row['up_s'] / 60:.0f} min" if row["pid"] else ""
        loaded = f", adapters {', '.join(row['adapters'])}" if row["adapters"] else ""
        hint = ""
        if row["crashes"]:
            last = row["crashes"][-1]
            hint = f"{len(row['crashes'])} crashes, the last at {last['when']}: {last['cause']}"
        hint += "\n".join(["", *row["log_tail"][-5:]]) if failed else ""
        detail = f"{row['state']}{up}, {row['restarts']} restarts{loaded}"
        checks.append(Check(f"vLLM at {row['base_url']}", not failed, detail, hint))
    return checks


# --- endpoints -------------------------------------------------------------------------------------------------------


def _endpoints(cfg: Config, status: Status | None) -> list[Check]:
    """What each configured endpoint is: chat, embedding, rerank."""
    checks = []
    if cfg.llm.backend in ("auto", "openai"):
        checks += [_endpoint(cfg, url, "llm.base_url") for url in (cfg.llm.base_url, *cfg.llm.base_urls) if url]
    if _running(status):
        served = cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"model": ""})})
        checks += [_endpoint(served, url, "vLLM") for url in addresses(cfg.llm)]
    if cfg.retrieval.embed_url:
        checks.append(_served_embedder(cfg))
    if cfg.retrieval.rerank_url:
        found = asyncio.run(kinds(cfg.retrieval.rerank_url, cfg.retrieval.reranker, cfg.retrieval.rerank_key))
        checks.append(_kind_check("retrieval.rerank_url", cfg.retrieval.rerank_url, found, "rerank"))
    return checks


def _served_embedder(cfg: Config) -> Check:
    """Whether the server of the embedder makes of a question, a passage and a long one what the embedder itself does.

    Other pooling, another normalisation, a forgotten layer or another model show as a smaller cosine.
    """
    name = "endpoint retrieval.embed_url"
    served, here = (embedder_of(cfg.retrieval.model_copy(update=told)) for told in ({}, {"embed_url": ""}))
    texts = ["Annual leave is ten days a year.", "年假每年十天。", "The rain fell on the old town. " * 400]
    try:
        pairs = [(served.embed_query(texts[0]), here.embed_query(texts[0]))]
        pairs += zip(served.embed_passages(texts), here.embed_passages(texts), strict=True)
    except RagstoneError as error:
        return Check(name, False, error.message, error.hint)
    least = min(float(one @ other) for one, other in pairs)
    detail = f"{here.name} at {cfg.retrieval.embed_url}; cosine to the embedder's own vectors at least {least:.4f}"
    if least < _ALIKE:
        hint = "the server pools otherwise or serves another model: see its log, or empty retrieval.embed_url"
        return Check(name, False, f"{detail}: these are other vectors", hint)
    return Check(name, True, detail)


def _endpoint(cfg: Config, url: str, key: str) -> Check:
    try:
        endpoint = asyncio.run(probe(url, cfg.llm))
    except RagstoneError as error:
        return Check(f"endpoint {key}", False, error.message, error.hint)
    found = asyncio.run(kinds(url, endpoint.model, endpoint.api_key))
    return _kind_check(key, f"{endpoint.model} at {url}", found, "chat")


def _kind_check(key: str, what: str, found: dict[Kind, str], wanted: Kind) -> Check:
    told = ", ".join(f"{kind}: {f'no ({reason})' if reason else 'yes'}" for kind, reason in found.items())
    can = [kind for kind, reason in found.items() if not reason]
    if wanted in can:
        return Check(f"endpoint {key}", True, f"{what}; {told}")
    where = f"it is a server for {' and '.join(can)}; " if can else ""
    return Check(f"endpoint {key}", False, f"{what}; {told}", f"{where}{key} needs one that answers {wanted} requests")


# --- answers ---------------------------------------------------------------------------------------------------------


def _answers(cfg: Config) -> list[Check]:
    try:
        backend = asyncio.run(resolve(cfg.llm))
    except RagstoneError as error:
        return [Check("answers", False, error.message, error.hint)]
    if backend.endpoint is None:
        return [Check("answers", True, "extractive: the documents are quoted", " ".join(backend.notes))]
    context = f", context {backend.endpoint.context} tokens" if backend.endpoint.context else ""
    detail = f"{backend.model} at {backend.endpoint.base_url}{context}"
    return [Check("answers", True, detail), *_context(cfg, backend.endpoint)]


def _context(cfg: Config, endpoint: Endpoint) -> list[Check]:
    """Whether passages, template and answer fit the model's context; the app gives passages what is left."""
    if not endpoint.context:
        return []
    template = max(_template_tokens(cfg, question) for question in ("How many days?", "年假有几天？"))
    answer, passages = cfg.llm.max_tokens, cfg.retrieval.context_tokens
    left = endpoint.context - min(answer, endpoint.context // 2) - template
    detail = f"passages {passages}, answer {answer}, template about {template}: {passages + answer + template} tokens"
    if passages <= left:
        return [Check("prompt budget", True, f"{detail} of {endpoint.context}")]
    hint = "lower llm.max_tokens or retrieval.context_tokens, or serve the model with a longer context"
    told = f"{detail}, and the model reads {endpoint.context}: passages get {max(left, 0)}"
    return [Check("prompt budget", left >= _LEAST_ROOM, told, hint)]


# --- accounts that are elsewhere -------------------------------------------------------------------------------------


def _elsewhere(cfg: Config) -> list[Check]:
    """Whether the provider and the directory that are configured answer, and the app is let in to look people up."""
    tried: list[tuple[str, str, Callable[[], str], int]] = []
    users = Users(cfg.app, cfg.oidc, cfg.ldap)
    if provider := users.provider:
        tried.append(("provider of accounts", "oidc", lambda: _asked(provider), len(cfg.oidc.groups)))
    if directory := users.directory:
        tried.append(("directory of accounts", "ldap", lambda: _looked_up(directory), len(cfg.ldap.groups)))
    checks = []
    for name, section, try_, groups in tried:
        try:
            detail = try_()
        except RagstoneError as error:
            checks.append(Check(name, False, error.message, error.hint))
            continue
        none = f"nobody gets in: [{section}] groups is empty"
        checks.append(
            Check(name, groups > 0, f"{detail}; {groups} groups get in" if groups else detail, "" if groups else none)
        )
    return checks


def _asked(provider: Provider) -> str:
    provider.check_installed()
    return asyncio.run(provider.check())


def _looked_up(directory: Directory) -> str:
    directory.check_installed()
    return directory.check()


def _template_tokens(cfg: Config, question: str) -> int:
    return sum(estimate_tokens(message.text) for message in request(cfg, question, "", ()))
