"""What the UI says, in English and Chinese. Keys are the same in both; the browser's language chooses."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.messages.errors_zh import Tongue as Tongue
from app.messages.errors_zh import says
from core.types import Hit

_COOKIE = "ragstone_language"  # what page.js sets

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Chat",
        "supported": "the passages it cites say this",
        "unsupported": "the passages it cites do not say this, or it cites none",
        "own": "Not from your documents: what the model knows itself",
        "thoughts": "What the model thought",
        "prompt": "The prompt that was sent",
        "in_place": "The page, with the passage marked",
        "new_chat": "New chat",
        "attach": "Attach files",
        "files_here": "Files of this chat",
        "being_read": "being read…",
        "passages_n": "passages: {}",
        "unread": "could not be read: {}",
        "remove_file": "Remove from this chat",
        "attached": "files of this chat",
        "step_attach": "Reading {} attached file(s)…",
        "voted_here": "Thank you. Your vote is kept with this chat alone, since it has files of its own.",
        "search_chats": "Search the chats",
        "chats": "Chats",
        "no_chats": "Your chats are kept here.",
        "rename": "Rename",
        "rename_to": "Name of the chat; “folder / name” puts it into a folder",
        "pin": "Keep at the top",
        "unpin": "No longer at the top",
        "export": "Export as Markdown",
        "delete": "Delete",
        "delete_chat": "Delete this chat?",
        "bases": "Knowledge bases",
        "mode": "The model may add what it knows itself",
        "question_n": "question",
        "answer_n": "answer",
        "earlier": "earlier version",
        "later": "later version",
        "cut": "(stopped)",
        "unanswered": "(not answered yet)",
        "go_on": "Continue the answer",
        "hidden": "You may no longer see what this answer rests on.",
        "step_rewrite": "Understanding the question…",
        "step_plan": "Planning what to look up first…",
        "step_search": "Searching {} knowledge base(s)…",
        "step_rank": "Ranking what {} wording(s) found…",
        "step_read": "Reading {} passage(s)…",
        "step_write": "Writing (passages: {})…",
        "said": "wordings: {} · passages: {} · {:.1f} s",
        "voted": "Thank you. Your vote is kept with the knowledge base.",
        "corrected": "corrected by you",
        "reason_wrong": "Wrong",
        "reason_incomplete": "Incomplete",
        "reason_source": "Wrong source",
        "reason_missing": "It is in the documents",
        "language": "中文",
        "theme": "Light or dark",
        "keys": "Keys",
        "close": "Close",
        "key_send": "Send the question",
        "key_line": "New line",
        "key_stop": "Stop the answer; close what is open",
        "key_edit": "In an empty box: edit the last question",
        "key_mention": "Name a knowledge base or a file",
        "key_list": "This list",
        "key_new": "Begin a new chat",
        "key_find": "Find a chat",
        "passages": "Passages",
        "signed_in": "Signed in as {}",
        "sign_out": "Sign out",
        "broken": "This did not work; the app's log says why. Load the page anew and try again.",
        "ask": "Ask your documents…",
        "no_evidence": "The passages an answer rests on appear here.",
        "welcome": "Ask a question about your documents.",
        "page": "p.",
        "cited": "cited",
        "words": "words",
        "meaning": "meaning",
        "score": "score",
        "scores": "Scores",
        "by_both": "Found by its words and its meaning",
        "by_words": "Found by its words",
        "by_meaning": "Found by its meaning",
        "by_place": "Read with the question",
        "searched": "searched for",
        "also_searched": "and for",
        "how": "How it was found",
        "chunk": "passage",
        "rerank": "rerank",
        "fate": "place",
        "lost": "left out: {}",
        "fused score": "its score",
        "older version": "older version",
        "not noted": "the model took no note of it",
        "limit of one document": "limit of one document",
        "repeats a better one": "repeats a better one",
        "no_kb": "There is no knowledge base yet: add files under “Knowledge”.",
        "extractive": "No model is configured: answers quote your documents.",
        "lacks": "Still missing: {}.",
        "lacks_documents": "documents",
        "lacks_model": "a model that writes the answers",
        "and": " and ",
        "set_up": "Set it up",
        "ask_admin": "An admin can set it up.",
        "speaks": "Model",
        "starting": "The model is starting",
        "blind": "The embedder {} cannot read {}: they are found by words only, not by meaning. Models that read "
        "Chinese and English: {} (set retrieval.embedder, then `ragstone index --rebuild`)",
        "better": "The embedder {} cannot read {}: they are found by words only, not by meaning. {}, which comes with "
        "the app, reads them: `ragstone index --kb {} --rebuild --plan` says what it takes",
        "chunks": "{} passages in {}",
        "lang_zh": "Chinese",
        "lang_en": "English",
        "lang_ja": "Japanese",
        "lang_ko": "Korean",
        "lang_und": "no language",
        "older": "Newest of several versions. Older: {}",
        "newer": "There is a newer version: {}",
        "take_along": "This answer:",
        "as_markdown": "Markdown",
        "as_word": "Word",
        "as_page": "Print or PDF",
        "corrected_here": "Somebody corrected what was read here; the file itself says something else.",
        "stale": "The file as it is now cannot be read ({}); this is what it said before.",
    },
    "zh": {
        "tab": "对话",
        "supported": "引用的段落支持这句话",
        "unsupported": "引用的段落没有这样说，或没有引用任何段落",
        "own": "以下不来自您的文档，是模型自己的知识",
        "thoughts": "模型的思考过程",
        "prompt": "实际发送的提示词",
        "in_place": "查看原页（段落已标出）",
        "new_chat": "新对话",
        "attach": "添加文件",
        "files_here": "本对话的文件",
        "being_read": "正在读取……",
        "passages_n": "{} 个段落",
        "unread": "无法读取：{}",
        "remove_file": "从本对话移除",
        "attached": "本对话的文件",
        "step_attach": "正在读取 {} 个添加的文件……",
        "voted_here": "谢谢。本对话有自己的文件，您的评价只保存在本对话中。",
        "search_chats": "搜索对话",
        "chats": "对话记录",
        "no_chats": "对话会保存在这里。",
        "rename": "重命名",
        "rename_to": "对话名称；写“文件夹 / 名称”可放入文件夹",
        "pin": "置顶",
        "unpin": "取消置顶",
        "export": "导出为 Markdown",
        "delete": "删除",
        "delete_chat": "删除这个对话？",
        "bases": "知识库",
        "mode": "允许模型补充自己的知识",
        "question_n": "问题",
        "answer_n": "回答",
        "earlier": "较早的版本",
        "later": "较新的版本",
        "cut": "（已停止）",
        "unanswered": "（尚未回答）",
        "go_on": "继续写",
        "hidden": "您已无权查看此回答所依据的内容。",
        "step_rewrite": "正在理解问题……",
        "step_plan": "正在计划先查什么……",
        "step_search": "正在检索 {} 个知识库……",
        "step_rank": "正在对 {} 种问法的结果排序……",
        "step_read": "正在阅读 {} 个段落……",
        "step_write": "正在阅读 {} 个段落并撰写……",
        "said": "{} 种问法 · {} 个段落 · {:.1f} 秒",
        "voted": "谢谢，您的评价已保存到知识库。",
        "corrected": "由您更正",
        "reason_wrong": "回答错误",
        "reason_incomplete": "不完整",
        "reason_source": "来源不对",
        "reason_missing": "文档里有答案",
        "language": "English",
        "theme": "浅色或深色",
        "keys": "快捷键",
        "close": "关闭",
        "key_send": "发送问题",
        "key_line": "换行",
        "key_stop": "停止回答；关闭打开的面板",
        "key_edit": "输入框为空时：修改上一个问题",
        "key_mention": "指定知识库或文件",
        "key_list": "显示此列表",
        "key_new": "开始新对话",
        "key_find": "查找对话",
        "passages": "段落",
        "signed_in": "当前用户：{}",
        "sign_out": "退出登录",
        "broken": "操作未能完成，原因见应用日志。请刷新页面后重试。",
        "ask": "向您的文档提问……",
        "no_evidence": "回答所依据的段落会显示在这里。",
        "welcome": "就您的文档提一个问题。",
        "page": "第 {} 页",
        "cited": "已引用",
        "words": "词语",
        "meaning": "语义",
        "score": "得分",
        "scores": "得分明细",
        "by_both": "词语和语义均符合",
        "by_words": "词语符合",
        "by_meaning": "语义符合",
        "by_place": "随问题一并读取",
        "searched": "检索内容",
        "also_searched": "同时检索",
        "how": "检索过程",
        "chunk": "段落",
        "rerank": "重排",
        "fate": "名次",
        "lost": "未采用：{}",
        "fused score": "得分不够",
        "older version": "旧版本",
        "not noted": "模型没有对它做笔记",
        "limit of one document": "同一文档的段落已够多",
        "repeats a better one": "与更好的段落重复",
        "no_kb": "还没有知识库：请在“知识库”中添加文件。",
        "extractive": "尚未配置模型：回答直接引用文档原句。",
        "lacks": "还缺：{}。",
        "lacks_documents": "文档",
        "lacks_model": "撰写回答的模型",
        "and": "、",
        "set_up": "现在设置",
        "ask_admin": "请管理员设置。",
        "speaks": "模型",
        "starting": "模型正在启动",
        "blind": "嵌入模型 {} 读不懂 {}：这些内容只能按词语、不能按语义检索。可以读中英文的模型：{}"
        "（设置 retrieval.embedder 后运行 `ragstone index --rebuild`）",
        "better": "嵌入模型 {} 读不懂 {}：这些内容只能按词语、不能按语义检索。随软件提供的 {} 可以读懂："
        "`ragstone index --kb {} --rebuild --plan` 会说明所需的时间",
        "chunks": "{} 个{}段落",
        "lang_zh": "中文",
        "lang_en": "英文",
        "lang_ja": "日文",
        "lang_ko": "韩文",
        "lang_und": "无法识别语言的",
        "older": "这是多个版本中最新的一个。旧版本：{}",
        "newer": "还有更新的版本：{}",
        "take_along": "此回答：",
        "as_markdown": "Markdown",
        "as_word": "Word",
        "as_page": "打印或 PDF",
        "corrected_here": "此处的内容经人工更正，与文件本身读出的文字不同。",
        "stale": "该文件目前无法读取（{}），这里是它之前的内容。",
    },
}


def blind_note(embedder: str, chunks: Mapping[str, int], models: Sequence[str], tongue: Tongue) -> str:
    """What an embedder cannot read, by language code, and which models would."""
    return TEXTS[tongue]["blind"].format(embedder, _counted(chunks, tongue), ", ".join(models))


def _counted(chunks: Mapping[str, int], tongue: Tongue) -> str:
    texts = TEXTS[tongue]
    what = [texts["chunks"].format(count, texts.get(f"lang_{code}", code)) for code, count in chunks.items()]
    return ("、" if tongue == "zh" else ", ").join(what)


def better_note(embedder: str, chunks: Mapping[str, int], other: str, kb: str, tongue: Tongue) -> str:
    """What the embedder of a knowledge base cannot read, and that the one which comes with the app can."""
    return TEXTS[tongue]["better"].format(embedder, _counted(chunks, tongue), other, kb)


def version_notes(hit: Hit, tongue: Tongue) -> list[str]:
    """What a reader of a passage should know of its file: older and newer versions, or that it cannot be read now."""
    said = {"stale": says(hit.stale, tongue), "newer": _some(hit.newer), "older": _some(hit.older)}
    notes = [TEXTS[tongue][key].format(value) for key, value in said.items() if value]
    return [*notes, *([TEXTS[tongue]["corrected_here"]] if hit.corrected else [])]


def _some(paths: Sequence[str]) -> str:
    more = f" (+{len(paths) - 3})" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


_STAGES_ZH = {
    "find": "检索", "pack": "装配段落", "first word": "首字", "write": "撰写", "fuse": "融合", "choose": "挑选",
}  # fmt: skip


def timed(stages: Sequence[tuple[str, float]], said: Tongue) -> str:
    """The milliseconds of each stage, whose knowledge base stands before it where there are several."""

    def named(stage: str) -> str:
        kb, _, name = stage.rpartition(": ")
        if said == "zh":
            name = _STAGES_ZH.get(name, name).replace("rerank with ", "重排：")
        return f"{kb}: {name}" if kb else name

    return " · ".join(f"{named(stage)} {ms:g} ms" for stage, ms in stages)


def tongue(request: Any) -> Tongue:
    """The language that was chosen on the page, else the browser's first."""
    chosen = request.cookies.get(_COOKIE) if request.cookies else None
    if chosen in ("en", "zh"):
        return chosen
    return "zh" if (request.headers.get("accept-language") or "").lower().lstrip().startswith("zh") else "en"
