"""What the Prompt lab shows, as HTML: versions, differences, answers side by side, studies, jobs. All text is inert."""

import html
import time
from collections.abc import Mapping, Sequence
from typing import Any

from app.answering.promotions import Choice, Promotion
from app.messages.errors_zh import says
from app.messages.texts import Tongue
from app.running.jobs import Job
from app.ui.knowledge_result import duration, table
from app.ui.lab_texts import TEXTS
from prompts.load import Prompt

_ROWS = 50  # questions that are shown
_TRIALS = 15


def standing(now: Choice, promotion: Promotion | None, tongue: Tongue) -> str:
    """Which prompt answers a knowledge base, and since when."""
    texts = TEXTS[tongue]
    since = texts["configured"]
    if promotion:
        by = f" · {promotion.by}" if promotion.by else ""
        since = texts["since"].format(promotion.when) + by
    told = f"{texts['answers_by']}: <b>{html.escape(now.label)}</b> · {html.escape(since)}"
    return f'<div class="rs-line" id="lab-now">{told}</div>'


def about(prompt: Prompt, scores: Mapping[str, Any], tongue: Tongue) -> str:
    """A version's parent, notes, variables, and what it scored last."""
    texts = TEXTS[tongue]
    rows = [(texts["parent"], prompt.parent or "–"), (texts["notes"], prompt.notes or "–"),
            (texts["variables"], ", ".join(prompt.variables))]  # fmt: skip
    lines = "".join(f'<div class="rs-line">{html.escape(name)}: {html.escape(text)}</div>' for name, text in rows)
    own = {label: kept for label, kept in scores.items() if label.partition(" ")[0] == prompt.label}
    if not own:
        return lines
    told = [(label, f"{kept['objective']:.3f}", kept["questions"], kept["model"], kept["when"])
            for label, kept in own.items()]  # fmt: skip
    return lines + table(
        (texts["variant"], texts["objective"], texts["questions"], texts["model"], texts["when"]), told
    )


def differences(sections: Mapping[str, str], tongue: Tongue) -> str:
    """A unified diff per section; what was added and removed is told by more than its colour."""
    if not sections:
        return f'<div class="rs-empty">{html.escape(TEXTS[tongue]["same"])}</div>'
    return "".join(
        f'<div class="rs-heading">{html.escape(section)}</div><pre class="rs-diff" tabindex="0">{_colored(text)}</pre>'
        for section, text in sections.items()
    )


def _colored(text: str) -> str:
    kinds = {"+": "ins", "-": "del"}
    lines = []
    for line in text.splitlines()[2:]:  # the first two name the versions
        kind = kinds.get(line[:1])
        lines.append(f"<{kind}>{html.escape(line)}</{kind}>" if kind else html.escape(line))
    return "\n".join(lines)


def problem(text: str) -> str:
    """Why what is typed is no prompt, or nothing."""
    return f'<pre class="rs-problem" role="status">⚠️ {html.escape(text)}</pre>' if text else ""


def messages(rendered: Sequence[tuple[str, str]]) -> str:
    """Messages as a model gets them."""
    return "".join(
        f'<div class="rs-heading">{html.escape(role)}</div><div class="rs-text rs-message">{html.escape(text)}</div>'
        for role, text in rendered
    )


def job_panel(job: Job | None, tongue: Tongue) -> str:
    """How far a comparison or a study is or, once it ended, what it came to."""
    if job is None:
        return ""
    texts = TEXTS[tongue]
    head = f"<b>{html.escape(texts[job.key.partition(' ')[0]])}</b> · {texts[job.word]}"
    head += html.escape(f" · {job.owner}" if job.owner else "")
    if job.state == "running":
        left = "" if job.seconds_left is None else f" · {duration(job.seconds_left)}"
        label = html.escape(f"{texts.get(job.stage, job.stage)} {job.done} / {job.total}{left}")
        value = f' value="{job.done}" max="{job.total}"' if job.total else ""
        bar = f'<progress aria-label="{label}"{value}></progress><div>{label}</div>'
        return f'<div class="rs-job" role="status">{head}{bar}</div>'
    ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.ended))
    body = ""
    if job.state == "failed":
        body = f'<pre class="rs-problem" role="alert">{html.escape(says(job.error, tongue))}</pre>'
    elif job.state == "done":
        body = study(job.result, tongue) if "verdict" in job.result else compared(job.result, tongue)
    return f'<div class="rs-job" data-state="{job.state}">{head} · {ended}{body}</div>'


def compared(result: Mapping[str, Any], tongue: Tongue) -> str:
    """A comparison: scores, wins and losses against the first, the answers side by side."""
    texts, variants = TEXTS[tongue], result["variants"]
    head = (texts["score"], *(variant["label"] for variant in variants))
    judged = bool(result["rows"][0]["wanted"])
    rows: list[Sequence[object]] = []
    if judged:
        rows.append((texts["objective"], *(f"{variant['objective']:.3f}" for variant in variants)))
        rows.append((texts["against"], "", *(_difference(variant["against"], texts) for variant in variants[1:])))
    rows += [
        (texts.get(name, name), *(variant["means"].get(name, "") for variant in variants))
        for name in dict.fromkeys(name for variant in variants for name in variant["means"])
    ]
    line = f'<div class="rs-line">{html.escape(_of(result["questions"], result["model"], texts))}</div>'
    return line + table(head, rows) + _answers(result["rows"], [v["label"] for v in variants], texts)


def _of(questions: int, model: str, texts: Mapping[str, str]) -> str:
    return texts["of"].format(questions, model)


def _difference(row: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    numbers = f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"{numbers} · {texts['moves'].format(row['wins'], row['losses'], row['ties'])}"


def _answers(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], texts: Mapping[str, str]) -> str:
    """The answers to each question, those first that differ most."""
    ordered = sorted(rows, key=lambda row: -_spread(row))
    blocks = []
    for row in ordered[:_ROWS]:
        scores = [answer["objective"] for answer in row["answers"]]
        wanted = f'<div class="rs-page">{html.escape(texts["wanted"])}: {html.escape(row["wanted"])}</div>'
        cells = "".join(
            f'<div class="rs-variant"><div class="rs-heading">{html.escape(label)}{_marked(answer, scores, row)}</div>'
            f'<div class="rs-text">{html.escape(answer["text"])}</div></div>'
            for label, answer in zip(labels, row["answers"], strict=True)
        )
        blocks.append(
            f'<details class="rs-card"{" open" if len(rows) == 1 or _spread(row) else ""}>'
            f"<summary>{html.escape(row['question'])}</summary>{wanted if row['wanted'] else ''}"
            f'<div class="rs-side">{cells}</div></details>'
        )
    return "".join(blocks)


def _spread(row: Mapping[str, Any]) -> float:
    scores = [answer["objective"] for answer in row["answers"]]
    return max(scores) - min(scores)


def _marked(answer: Mapping[str, Any], scores: Sequence[float], row: Mapping[str, Any]) -> str:
    took = f' <span class="rs-badge">{answer["seconds"]:g} s · {answer["tokens"]}</span>'
    if not row["wanted"]:
        return took
    best = " ★" if answer["objective"] == max(scores) > min(scores) else ""
    return f' <span class="rs-badge">{answer["objective"]:.2f}{best}</span>{took}'


def study(report: Mapping[str, Any], tongue: Tongue) -> str:
    """The report of a study: the verdict, present and best, the trials."""
    texts, gain = TEXTS[tongue], report["difference"]
    verdict = texts[report["verdict"].replace(" ", "_")]
    lines = [f"{verdict}: {_difference(gain, texts)}", texts["sizes"].format(**report["sizes"]), *report["notes"]]
    if report["command"]:
        lines.append(report["command"])
    told = "".join(f'<div class="rs-line">{html.escape(line)}</div>' for line in lines)
    present, best = report["present"], report["best"]
    rows: list[Sequence[object]] = [
        (texts["variant"], present["label"], best["label"]),
        (texts["objective"], f"{present['objective']:.3f}", f"{best['objective']:.3f}"),
    ]
    rows += [(texts.get(name, name), value, best["means"].get(name, "")) for name, value in present["means"].items()]
    trials = [(f"{t['value']:.3f}", t["label"], t["params"].get("demos", 0)) for t in report["trials"][:_TRIALS]]
    return (
        f'<div class="rs-verdict" data-verdict="{html.escape(report["verdict"])}">{told}</div>'
        + table((texts["test_side"], texts["present"], texts["best"]), rows)
        + f'<details class="rs-card"><summary>{html.escape(texts["trials"])}</summary>'
        + table((texts["dev_side"], texts["variant"], texts["demos"]), trials)
        + "</details>"
        + _answers(report["rows"], [present["label"], best["label"]][: len(report["rows"][0]["answers"])], texts)
    )
