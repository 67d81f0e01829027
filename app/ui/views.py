"""Which conversation each page shows, so that an answer is drawn there only where its conversation is the one shown."""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

_PAGES = 1000  # that are remembered
_SENT_S = 2.0


@dataclass(eq=False, slots=True)
class View:
    """What a page shows from one turn to another conversation until the next; "" is one that is not begun yet.

    `sending`: steps of answers that are on their way to it.
    """

    chat: str = ""
    sending: int = 0


class Views:
    """The views of all pages, by their sessions."""

    def __init__(self) -> None:
        self._now: OrderedDict[str, View] = OrderedDict()

    def turn(self, page: str | None, chat: str) -> None:
        """A page turns to a conversation; to be called in a thread, which waits until what is on its way was sent."""
        before, end = self._now.get(page or ""), time.monotonic() + _SENT_S
        self._show(page or "", chat)
        while before and before.sending and time.monotonic() < end:
            time.sleep(0.005)

    def shows(self, page: str | None, chat: str) -> bool:
        """Whether a page shows a conversation, as far as it is remembered."""
        view = self._now.get(page or "")
        return view is None or view.chat == chat

    def _show(self, page: str, chat: str) -> View:
        view = self._now[page] = View(chat)
        self._now.move_to_end(page)
        if len(self._now) > _PAGES:
            self._now.popitem(last=False)
        return view

    def asks(self, page: str | None, chat: str) -> View:
        """The view in which something is asked; of a page that is not remembered it is that of its conversation."""
        view = self._now.get(page or "")
        if view is None or (chat and view.chat != chat):
            return self._show(page or "", chat)
        return view

    async def drawn(self, page: str | None, chat: str, steps: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Steps of an answer, those left out that come while their page shows another conversation."""
        async for shown in steps:
            view = self._now.get(page or "")
            if view is None or view.chat != chat:
                yield shown if view is None else tuple(gr.skip() for _ in shown)
                continue
            view.sending += 1
            try:
                yield shown  # Gradio asks for the next step once it has sent this one
            finally:
                view.sending -= 1
