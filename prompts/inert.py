"""Text of a model or a document for a Markdown file: shown as it was written, whatever program opens the file.

A picture in an answer would be loaded by whoever reads the file, and could carry to another host what was read.
"""

import re

from prompts.marks import pieces

# What begins a picture, what makes a link or names its target, and HTML; by a backslash they mean themselves
# (CommonMark 0.31, 2.4).
_ALIVE = re.compile(r"!(?=\[)|(?<=\])[(:]|<(?=[A-Za-z/!?])")
_SIGNS = re.compile(r"[\\`*_{}\[\]<>()#!|&~]")


def inert(text: str) -> str:
    r"""Markdown without pictures, links or HTML; code stays as it is.

    >>> inert("See ![a](http://b) and <b>, `x[0](1)` [1].")
    'See \\![a]\\(http://b) and \\<b>, `x[0](1)` [1].'
    """
    code, at = list[range](), 0
    for piece in pieces(text, {}):
        if piece.kind in ("code", "fence", "block"):
            code.append(range(at, at + len(piece.text)))
        at += len(piece.text)
    said, at = "", 0
    for sign in _ALIVE.finditer(text):
        if not any(sign.start() in each for each in code):
            said += text[at : sign.start()] + "\\"
            at = sign.start()
    said += text[at:]
    return _escaped(text) if _is_alive(said) else said  # what others take for code may be less than what we do


def inert_line(text: str) -> str:
    """A text that has no Markdown, such as a name, on one line of Markdown."""
    return _escaped(" ".join(text.split()))


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\g<0>", text)


def _is_alive(text: str) -> bool:
    from markdown_it import MarkdownIt

    return any(
        inside.type in ("image", "link_open", "html_inline") or block.type == "html_block"
        for block in MarkdownIt("commonmark").parse(text)
        for inside in (block.children or [block])
    )
