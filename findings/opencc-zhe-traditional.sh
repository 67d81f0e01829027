#!/usr/bin/env bash
# OpenCC 1.4.2 (Python), the conversion t2s, which most take to fold Traditional Chinese for a search.
# Expected: a text and its Traditional form are the same afterwards.
# Seen: 沿著 and 看著 stay as they are, since 著 is also a character of Simplified text (著名); tw2s makes 着 of them and
#   of 土著, whose 著 is right. hk2s does as t2s.
# Why it matters: 沿着, as one types it, does not find 沿著 of a Traditional text, by words or by exact match, in any index
#   that was folded by t2s; by tw2s 土著 is lost instead. The particle has to be told by the words around it.
# Source: https://github.com/BYVoid/OpenCC (TSCharacters, TWVariants), and the run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opencc==1.4.2
"$folder/venv/bin/python" - <<'PY'
import opencc

TEXT, WANTED = "沿著河岸，看著土著。著名的著作，皇后的後面。", "沿着河岸，看着土著。著名的著作，皇后的后面。"
seen = {name: opencc.OpenCC(name).convert(TEXT) for name in ("t2s", "hk2s", "tw2s")}
print("Traditional", TEXT)
for name, text in seen.items():
    print(name, text, "" if text == WANTED else "(wanted: " + WANTED + ")")
assert seen["t2s"] == seen["hk2s"] == "沿著河岸，看著土著。著名的著作，皇后的后面。"
assert seen["tw2s"] == "沿着河岸，看着土着。著名的著作，皇后的后面。"
print("as described")
PY
