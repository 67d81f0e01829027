"""What the app keeps of each page that is open: the values of its states, some kilobytes.

Gradio's own sessions hold the configuration of every component, for links into a page's state, which are closed here,
and a copy of each component that was changed: a megabyte a page, and the longer it is open the more. Those are one for
all pages here: what a component shows is the browser's to know. So nothing may compare a value with what a page was
shown: see `choice` in app/ui/choice.py.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gradio.components import State
from gradio.state_holder import SessionState, StateHolder

if TYPE_CHECKING:
    from gradio.blocks import Blocks, BlocksConfig

SESSIONS = 2_000  # that are remembered; the one that was silent for longest goes first
CLOSED_S = 300.0  # a page without a connection is remembered so long: a network may be gone for a moment


class Sessions(StateHolder):
    """The sessions of a page's app, in place of Gradio's own."""

    def __init__(self, blocks: "Blocks") -> None:
        super().__init__()
        self.connections: Counter[str] = Counter()  # connections, by session
        self._shared: BlocksConfig = copy(blocks.default_config)
        self._shared.blocks = MappingProxyType(self._shared.blocks)  # type: ignore[assignment]
        blocks.state_session_capacity = SESSIONS
        self.set_blocks(blocks)

    def __getitem__(self, session_id: str) -> SessionState:
        session = self.session_data.get(session_id)
        if session is None:
            session = self.session_data[session_id] = _Session(self._shared)
        self.update(session_id)
        self.time_last_used.pop(session_id, None)
        session.used = time.monotonic()  # type: ignore[attr-defined]
        return session

    @contextmanager
    def connected(self, session_id: str) -> Iterator[None]:
        """While it lasts, the page of a session is open."""
        self.connections[session_id] += 1
        try:
            yield
        finally:
            self.connections[session_id] -= 1
            if not self.connections[session_id]:
                del self.connections[session_id]
            if session_id in self.session_data:
                _ = self[session_id]  # begins to be forgotten now

    def kept(self, session_id: str) -> bool:
        """Whether something is kept of a page, or it is open."""
        waiting = self.blocks._queue.pending_messages_per_session
        return session_id in self.connections or session_id in self.session_data or session_id in waiting

    def delete_all_expired_state(self) -> None:
        """Forget the pages that were closed a while ago; Gradio calls this every second."""
        now = time.monotonic()
        for session_id, session in list(self.session_data.items()):
            if session_id not in self.connections and now - session.used > CLOSED_S:  # type: ignore[attr-defined]
                self.session_data.pop(session_id, None)
                self.blocks._queue.pending_messages_per_session.pop(session_id, None)


class _Session(SessionState):
    """The states of a page; its components are those of all pages."""

    def __init__(self, shared: "BlocksConfig") -> None:
        self.blocks_config = shared
        self.config_values: dict[int, Any] = {}
        self.state_data: dict[int, Any] = {}
        self.is_closed = False
        self.used = time.monotonic()
        self._made: dict[int, Any] = {}

    def __getitem__(self, key: int) -> Any:
        """A component as Gradio has just made it anew for a change, of which it reads what it sends; once, then all
        pages' own.
        """
        return self._made.pop(key) if key in self._made else super().__getitem__(key)

    def __setitem__(self, key: int, value: Any) -> None:
        if isinstance(self.blocks_config.blocks.get(key), State):
            self.state_data[key] = value
        else:
            self._made[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass

    @property
    def state_components(self) -> Iterator[tuple[State, Any, bool]]:
        """None: no state of the page goes before its session does."""
        return iter(())
