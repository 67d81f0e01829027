"""What of a prompt is passages, and what is the question: they stand with the rules, or before the question.

`prompts.sources` decides where, so rows that were made before may have them in the other place.
"""

import re
from collections.abc import Sequence

from llm.examples import Message

_SOURCES = re.compile(
    r'^<source n="\d+" path=.*</source>$', re.DOTALL | re.MULTILINE
)  # as prompts.context.render writes


def passages(prompt: Sequence[Message]) -> str:
    """The passages of the last question, "" where there are none."""
    for message in (prompt[-1], prompt[0]):
        if found := _SOURCES.search(message.content):
            return found[0]
    return ""


def question(prompt: Sequence[Message]) -> str:
    """The last question, without its passages."""
    return words(prompt[-1])


def words(message: Message) -> str:
    """What somebody says in a message, without passages."""
    return _SOURCES.sub("", message.content).strip()
