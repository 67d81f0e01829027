"""Text put into a prompt cannot write the delimiters of that prompt, nor the control tokens of a chat template.

A delimiter is known by what a model would read, not by its bytes: case, spaces, full-width forms, invisible characters,
accents and letters of other scripts that look alike do not hide it. Only its first character is replaced, by `‹`, so
that the text can still be quoted.
"""

import re
import unicodedata
from collections.abc import Collection

SOURCE = frozenset(("source",))
"""The tag around a source."""

# Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt)
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_GAP = rf"[\s\x00-\x1f\x7f-\x9f{_UNSEEN}]*+"
_BAR = "[|｜∣︱ǀ│]"
_OPENS = re.compile(rf"[<＜﹤](?={_GAP}[/／⁄∕\\]?{_GAP}(?P<name>[^\W\d_]))", re.IGNORECASE)
_LONGEST = 80  # characters in which a tag's name must end, invisible ones counted
_LOOKALIKES = str.maketrans("абвеɡһіїјӏкмнорԛѕтυνхуԝсԁαβεικνορτυχϲ", "abbeghiijlkmhopqstuvxywcdabeikvoptuxc")
# What tokenizers of chat models take for a token of its own: Qwen, Llama, Phi (`<|im_start|>`), DeepSeek (full-width
# bars), Llama 2 and Mistral (`[INST]`, `</s>`), Gemma (`<start_of_turn>`), GLM (`[gMASK]`), and what marks thinking and
# tool calls.
_CONTROL = re.compile(
    rf"[<＜﹤](?={_BAR}\S[^>\n]{{0,64}}?(?<=\S){_BAR}[>＞﹥])|<(?=/?s>|<SYS>>|/SYS>>|(?:bos|eos|unk|pad|mask|sop|eop)>)"
    r"|<(?=/?(?:start_of_turn|end_of_turn|think|tool_call|tool_response|tools)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS|TOOL_CONTENT|THINK|gMASK|MASK|CLS|SEP)\])",
    re.IGNORECASE,
)
_ENDS = str.maketrans({'"': "'", "＂": "'", "<": "‹", "＜": "‹", "﹤": "‹", ">": "›", "＞": "›", "﹥": "›"})
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def inert(text: str, tags: Collection[str] = SOURCE) -> str:
    """The text with `‹` for whatever would begin or end an element named like one of `tags`, or be a control token."""

    def broken(match: re.Match[str]) -> str:
        name = _seen(text[match.start("name") : match.start("name") + _LONGEST])
        return "‹" if any(name.startswith(tag) for tag in tags) else match[0]

    return _OPENS.sub(broken, _CONTROL.sub("‹", text))


def in_line(name: str) -> str:
    """A path, title or heading as it stands in a delimiter's attribute: one line, nothing that could end it."""
    return inert(_BREAKS.sub(" ", name).translate(_ENDS))


def _seen(text: str) -> str:
    """What a reader sees, as far as it matters here: no marks on letters, no width, no case, no invisible character."""
    if text.isascii():
        return text.lower()
    plain = re.sub(f"[{_UNSEEN}]", "", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c)).translate(_LOOKALIKES)
