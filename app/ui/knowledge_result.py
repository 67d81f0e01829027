"""Long work on a knowledge base as the Knowledge tab shows it: how far it is, and what it came to."""

import html
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from app.keeping.folders import shower
from app.keeping.index import Report
from app.keeping.plan import Forecast
from app.measuring.draft import Drafts
from app.measuring.evaluate import METRICS, intervals, scores, summary
from app.messages.errors_zh import says
from app.messages.texts import Tongue
from app.running.jobs import Job
from app.running.library import Measured
from core.types import FileError

_ROWS = 100  # of each kind that are named one by one
_FEW = 10  # rows that are shown unasked

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "plan": "Comparison with the folders", "index": "Update", "draft": "Draft of questions",
        "evaluate": "Measurement", "left": "about {} left", "running": "running",
        "ending": "ending…", "done": "done", "failed": "failed",
        "cancelled": "cancelled: what was committed stays", "by": "by {}", "ended": "ended {}",
        "busy": "“{}” is still running on this knowledge base. Wait for it, or cancel it.",
        "added": "added", "changed": "changed", "moved": "moved", "deleted": "deleted", "unchanged": "unchanged",
        "named": "given tags or a date",
        "skipped": "skipped", "would": "Would be {}", "nothing": "Everything is up to date.",
        "cost": "{} passages, {} to embed, about {} here",
        "about_cost": "about {} passages, {} to embed, about {} here",
        "report": "{} passages in all · {} embedded · {}", "more": "and {} more", "unreadable": "Could not be read",
        "drafts": "{} questions drafted, to be approved below", "bad": "{} replies of the model were left out",
        "measured": "{} questions, {} search, {} passages each", "rank": "rank", "question": "question",
        "expected": "file", "none": "not found", "interval": "95% interval", "figure": "figure", "mean": "mean",
        "out_of_date": "Out of date (the documents no longer hold the evidence)", "scan": "looking",
        "save": "saving", "estimate": "estimating", "fetch": "downloading", "reading": "reading and embedding",
        "search": "asking", "measure": "measuring", "setup-look": "Look at the folder", "setup-examine": "Examination",
        "setup-fetch": "Download", "setup-change": "Embedding anew", "setup-back": "The way back",
        "busy_setup": "“{}” is still running. Wait for it, or cancel it.",
    },
    "zh": {
        "plan": "与文件夹比较", "index": "更新索引", "draft": "起草问题", "evaluate": "评测",
        "left": "约剩 {}", "running": "进行中", "ending": "正在结束……", "done": "已完成", "failed": "失败",
        "cancelled": "已取消：已提交的内容保留", "by": "发起人：{}", "ended": "结束于 {}",
        "busy": "此知识库上“{}”仍在进行。请等待其结束，或取消它。",
        "added": "新增", "changed": "更改", "moved": "移动", "deleted": "删除", "unchanged": "未变",
        "skipped": "跳过", "named": "更改了标签或日期", "would": "将{}", "nothing": "一切都是最新的。",
        "cost": "{} 个段落，其中 {} 个需要嵌入，在本机约需 {}",
        "about_cost": "约 {} 个段落，其中约 {} 个需要嵌入，在本机约需 {}",
        "report": "共 {} 个段落 · 新嵌入 {} 个 · {}", "more": "还有 {} 个", "unreadable": "无法读取",
        "drafts": "起草了 {} 个问题，请在下方审阅", "bad": "模型有 {} 个回复不可用",
        "measured": "{} 个问题，{} 检索，每题 {} 个段落", "rank": "名次", "question": "问题",
        "expected": "文件", "none": "未找到", "interval": "95% 区间", "figure": "指标", "mean": "均值",
        "out_of_date": "已过时（文档中不再有其依据）", "scan": "正在查看",
        "save": "正在保存", "estimate": "正在估算", "fetch": "正在下载", "reading": "正在读取并嵌入",
        "search": "正在提问", "measure": "正在测速", "setup-look": "查看文件夹", "setup-examine": "检测",
        "setup-fetch": "下载", "setup-change": "重新嵌入", "setup-back": "回退",
        "busy_setup": "“{}”仍在进行。请等待其结束，或取消它。",
    },
}  # fmt: skip
_STAGES = {
    "scan": "scan", "fetch": "fetch", "save": "save", "estimate": "estimate", "index": "reading", "search": "search",
    "measure": "measure",
}  # fmt: skip


def title(job: Job, texts: dict[str, str]) -> str:
    """What a job does, in words."""
    return texts.get(job.key.split(" ", 1)[0], job.title)


def panel(job: Job | None, folders: Sequence[str], tongue: Tongue) -> str:
    """How far a job is or, once it ended, what it came to."""
    if job is None:
        return ""
    texts = TEXTS[tongue]
    who = f" · {texts['by'].format(job.owner)}" if job.owner else ""
    head = f"<b>{html.escape(title(job, texts))}</b> · {texts[job.word]}{html.escape(who)}"
    if job.state == "running":
        return f'<div class="rs-job" role="status">{head}{_progress(job, tongue)}</div>'
    ended = texts["ended"].format(time.strftime("%Y-%m-%d %H:%M", time.localtime(job.ended)))
    if job.state == "failed":
        body = f'<pre class="rs-problem" role="alert">{html.escape(says(job.error, tongue))}</pre>'
    else:
        body = result(job.result, folders, tongue)
    return f'<div class="rs-job" data-state="{job.state}" data-job="{job.id}">{head} · {html.escape(ended)}{body}</div>'


def result(came_to: Any, folders: Sequence[str], tongue: Tongue) -> str:
    """What a job's work returned, as HTML."""
    texts = TEXTS[tongue]
    if isinstance(came_to, Forecast):
        return _forecast(came_to, tongue)
    if isinstance(came_to, Report):
        return _report(came_to, folders, tongue)
    if isinstance(came_to, Drafts):
        bad = f" · {texts['bad'].format(came_to.bad_replies)}" if came_to.bad_replies else ""
        return lines([texts["drafts"].format(len(came_to.questions)) + bad, *came_to.notes])
    return _measured(came_to, texts) if isinstance(came_to, Measured) else ""


class Html(str):
    """A cell of a table that is HTML of our own making."""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table that scrolls by itself where it is wider than the page; what is no `Html` is shown as it is written."""
    top = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="rs-table" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: object) -> str:
    return cell if isinstance(cell, Html) else html.escape(str(cell))


def duration(seconds: float) -> str:
    """Seconds as a person says them: `0.4 s`, `8 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 5 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _progress(job: Job, tongue: Tongue) -> str:
    texts = TEXTS[tongue]
    word, _, about = job.stage.partition(" ")
    stage = f"{texts[_STAGES[word]]} {about}".strip() if word in _STAGES else says(job.stage, tongue)
    counted = f" {job.done} / {job.total}" if job.total else ""
    left = job.seconds_left
    rest = "" if left is None else f" · {texts['left'].format(duration(left))}"
    value = f' value="{job.done}" max="{job.total}"' if job.total else ""
    label = html.escape(f"{stage}{counted}{rest}")
    return f'<progress aria-label="{label}"{value}></progress><div>{label}</div>'


def lines(rows: Iterable[str]) -> str:
    """Lines of text."""
    return "".join(f'<div class="rs-line">{html.escape(row)}</div>' for row in rows)


def _forecast(found: Forecast, tongue: Tongue) -> str:
    texts = TEXTS[tongue]
    name = shower(list(found.plans))
    plans = found.plans.items()
    kinds = {
        "added": [name(folder, entry.path) for folder, plan in plans for entry in plan.added],
        "changed": [name(folder, entry.path) for folder, plan in plans for _, entry in plan.changed],
        "moved": [f"{name(f, old.path)} → {name(f, new.path)}" for f, plan in plans for old, new in plan.moved],
        "deleted": [name(folder, file.path) for folder, plan in plans for file in plan.deleted],
    }
    lists = "".join(
        listed(texts["would"].format(texts[kind]), rows, texts) for kind, rows in kinds.items() if rows
    ) + failures([error for _, plan in plans for error in plan.failed], name, tongue)
    counts = " · ".join(f"{len(rows)} {texts[kind]}" for kind, rows in kinds.items())
    unchanged = f"{sum(plan.unchanged for _, plan in plans)} {texts['unchanged']}"
    cost = texts["cost" if found.exact else "about_cost"].format(found.chunks, found.embed, duration(found.seconds))
    return lines([f"{counts} · {unchanged}", cost if any(kinds.values()) else texts["nothing"]]) + lists


def _report(report: Report, folders: Sequence[str], tongue: Tongue) -> str:
    texts = TEXTS[tongue]
    kinds = ("added", "changed", "moved", "deleted", "unchanged")
    counts = " · ".join(f"{getattr(report, kind)} {texts[kind]}" for kind in kinds)
    counts += f" · {report.named} {texts['named']}" if report.named else ""
    failed = f" · {len(report.failed)} {texts['failed']} · {len(report.skipped)} {texts['skipped']}"
    sums = texts["report"].format(report.chunks, report.embedded, duration(report.seconds))
    name = shower(folders)
    skipped = [f"{name(error.folder, error.path)}: {says(error.error, tongue)}" for error in report.skipped]
    return (
        lines([counts + failed, sums])
        + failures(report.failed, name, tongue)
        + (listed(texts["skipped"], skipped, texts) if skipped else "")
        + lines(f"⚠️ {says(note, tongue)}" for note in report.notes)
    )


def failures(errors: Sequence[FileError], name: Callable[[str, str], str], tongue: Tongue) -> str:
    """The files that could not be read, why, and what to do; `name` shows (folder, path)."""
    texts, stop = TEXTS[tongue], "；" if tongue == "zh" else "; "
    told = [stop.join(says(text, tongue) for text in (e.error, e.hint) if text) for e in errors]
    rows = [f"⚠️ {name(e.folder, e.path)}: {text}" for e, text in zip(errors, told, strict=True)]
    return listed(texts["unreadable"], rows, texts, "open") if rows else ""


def listed(label: str, rows: Sequence[str], texts: dict[str, str], how: str = "") -> str:
    """A list below a label, which is open where it is short; of many rows the rest is counted."""
    items = "".join(f"<li>{html.escape(row)}</li>" for row in rows[:_ROWS])
    more = f"<li>{html.escape(texts['more'].format(len(rows) - _ROWS))}</li>" if len(rows) > _ROWS else ""
    head = html.escape(f"{label} ({len(rows)})")
    how = how or ("open" if len(rows) <= _FEW else "")
    return f'<details class="rs-list" {how}><summary>{head}</summary><ul>{items}{more}</ul></details>'


def _measured(found: Measured, texts: dict[str, str]) -> str:
    means, ranges = summary(found.outcomes), intervals(scores(found.outcomes))
    figures = [
        (name.replace("@k", f"@{found.k}"), f"{means[name]:.3f}", f"{ranges[name][0]:.3f} – {ranges[name][1]:.3f}")
        for name in METRICS
    ]
    figures += [(f"{name.removesuffix('_ms')} ms", f"{means[name]:g}", "") for name in ("p50_ms", "p95_ms")]
    pairs = zip(found.testset.questions, found.outcomes, strict=True)
    worst = sorted(pairs, key=lambda pair: -(pair[1].judged.rank or 10**6))
    rows = [
        (
            done.judged.rank or texts["none"],
            f"{done.judged.scores[0]:.3f}",
            asked.text,
            asked.document,
            f"{done.ms:.0f}",
        )
        for asked, done in worst
    ]
    gone = [f"{row.question} ({row.file}: {row.reason})" for row in found.testset.out_of_date]
    head = texts["measured"].format(len(found.outcomes), found.mode, found.k)
    return (
        lines([head])
        + table((texts["figure"], texts["mean"], texts["interval"]), figures)
        + table((texts["rank"], "nDCG@10", texts["question"], texts["expected"], "ms"), rows)
        + (listed(texts["out_of_date"], gone, texts) if gone else "")
    )
