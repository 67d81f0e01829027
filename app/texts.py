"""What the UI says, in English and Chinese. Keys are the same in both; the browser's language chooses."""

from collections.abc import Mapping, Sequence
from typing import Literal

from core.types import Hit

Tongue = Literal["en", "zh"]

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Chat",
        "kb": "Knowledge base",
        "ask": "Ask your documents…",
        "evidence": "Evidence",
        "documents": "Documents",
        "no_evidence": "The passages an answer rests on appear here.",
        "upload_files": "Files to add",
        "upload_kb": "Into knowledge base",
        "upload": "Add to the knowledge base",
        "uploading": "Reading and indexing…",
        "upload_none": "Choose at least one file first.",
        "welcome": "Ask a question about your documents.",
        "page": "p.",
        "cited": "cited",
        "words": "words",
        "meaning": "meaning",
        "score": "score",
        "refresh": "Refresh",
        "searched": "searched for",
        "also_searched": "and for",
        "how": "How it was found",
        "chunk": "passage",
        "rerank": "rerank",
        "fate": "place",
        "lost": "left out: {}",
        "fused score": "its score",
        "older version": "older version",
        "limit of one document": "limit of one document",
        "repeats a better one": "repeats a better one",
        "no_kb": "There is no knowledge base yet: add files under “Documents”.",
        "extractive": "No model is configured: answers quote your documents. To have a model write them, set "
        "`vllm_model` (a model folder) or `base_url` (any OpenAI-compatible server) under `[llm]` in config.toml, "
        "then start again.",
        "speaks": "Model",
        "starting": "The model is starting",
        "blind": "The embedder {} cannot read {}: they are found by words only, not by meaning. Models that read "
        "Chinese and English: {} (set retrieval.embedder, then `ragstone index --rebuild`)",
        "chunks": "{} passages in {}",
        "lang_zh": "Chinese",
        "lang_en": "English",
        "lang_ja": "Japanese",
        "lang_ko": "Korean",
        "lang_und": "no language",
        "older": "Newest of several versions. Older: {}",
        "newer": "There is a newer version: {}",
        "stale": "The file as it is now cannot be read ({}); this is what it said before.",
    },
    "zh": {
        "tab": "对话",
        "kb": "知识库",
        "ask": "向你的文档提问……",
        "evidence": "依据",
        "documents": "文档",
        "no_evidence": "回答所依据的段落会显示在这里。",
        "upload_files": "要添加的文件",
        "upload_kb": "添加到知识库",
        "upload": "添加到知识库",
        "uploading": "正在读取并建立索引……",
        "upload_none": "请先选择至少一个文件。",
        "welcome": "就你的文档提一个问题。",
        "page": "第 {} 页",
        "cited": "已引用",
        "words": "词语",
        "meaning": "语义",
        "score": "得分",
        "refresh": "刷新",
        "searched": "检索内容",
        "also_searched": "同时检索",
        "how": "检索过程",
        "chunk": "段落",
        "rerank": "重排",
        "fate": "名次",
        "lost": "未采用：{}",
        "fused score": "得分不够",
        "older version": "旧版本",
        "limit of one document": "同一文档的段落已够多",
        "repeats a better one": "与更好的段落重复",
        "no_kb": "还没有知识库：请在“文档”中添加文件。",
        "extractive": "尚未配置模型：回答直接引用文档原句。若要由模型撰写回答，请在 config.toml 的 `[llm]` 中设置 "
        "`vllm_model`（模型文件夹）或 `base_url`（任何兼容 OpenAI 的服务），然后重新启动。",
        "speaks": "模型",
        "starting": "模型正在启动",
        "blind": "嵌入模型 {} 读不懂{}：这些内容只能按词语、不能按语义检索。可以读中英文的模型：{}"
        "（设置 retrieval.embedder 后运行 `ragstone index --rebuild`）",
        "chunks": "{} 个{}段落",
        "lang_zh": "中文",
        "lang_en": "英文",
        "lang_ja": "日文",
        "lang_ko": "韩文",
        "lang_und": "无法识别语言的",
        "older": "这是多个版本中最新的一个。旧版本：{}",
        "newer": "还有更新的版本：{}",
        "stale": "该文件目前无法读取（{}），这里是它之前的内容。",
    },
}


def blind_note(embedder: str, chunks: Mapping[str, int], models: Sequence[str], tongue: Tongue) -> str:
    """What an embedder cannot read, by language code, and which models would."""
    texts = TEXTS[tongue]
    what = [texts["chunks"].format(count, texts.get(f"lang_{code}", code)) for code, count in chunks.items()]
    return texts["blind"].format(embedder, ("、" if tongue == "zh" else ", ").join(what), ", ".join(models))


def version_notes(hit: Hit, tongue: Tongue) -> list[str]:
    """What a reader of a passage should know of its file: older and newer versions, or that it cannot be read now."""
    said = {"stale": hit.stale, "newer": _some(hit.newer), "older": _some(hit.older)}
    return [TEXTS[tongue][key].format(value) for key, value in said.items() if value]


def _some(paths: Sequence[str]) -> str:
    more = f" (+{len(paths) - 3})" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def tongue_of(accept_language: str | None) -> Tongue:
    """The UI language for an Accept-Language header."""
    return "zh" if (accept_language or "").lower().lstrip().startswith("zh") else "en"
