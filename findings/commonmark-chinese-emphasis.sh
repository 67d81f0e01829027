#!/usr/bin/env bash
# markdown-it-py 4.3.0 and mistune 3.4.0, as CommonMark 0.31 says: bold text in Chinese.
# Expected: `**注意：**须经批准` is a bold 注意： and then the rest, as `**Note:** ask first` is in English.
# Seen: the stars are shown. Between a punctuation mark and a letter, stars belong to the letter's side alone; English
#   has a space behind the bold words, Chinese has none. Quotation marks, brackets and book titles at either edge do the
#   same.
# Why it matters: models write Chinese answers so all the time, and pages that show them by the standard show stars.
#   In markdown-it-py a character that is neither, such as U+2060, between mark and stars makes it bold; in mistune it
#   does not.
# Source: https://spec.commonmark.org/0.31.2/#emphasis-and-strong-emphasis (flanking), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check markdown-it-py==4.3.0 mistune==3.4.0
"$folder/venv/bin/python" - <<'PY'
import mistune
from markdown_it import MarkdownIt

parsers = {"markdown-it-py": MarkdownIt("commonmark").render, "mistune": mistune.create_markdown()}
texts = ["**Note:** ask first", "**注意：**须经批准", "假期为**五天（带薪）**的", "应当**“提前三十天”**通知", "见**《手册》**第三条",
         "**注意：\u2060**须经批准"]
bold = {name: ["<strong>" in render(text) for text in texts] for name, render in parsers.items()}
for number, text in enumerate(texts):
    shown = ", ".join(f"{name}: {'bold' if bold[name][number] else 'stars'}" for name in parsers)
    print(shown, ascii(text) if "\u2060" in text else text)
assert bold["markdown-it-py"] == [True, False, False, False, False, True]
assert bold["mistune"] == [True, False, False, False, False, False]
print("as described")
PY
