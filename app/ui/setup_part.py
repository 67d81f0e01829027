"""What the three steps of the Set up tab share: what the tab fills of each, and long work as it is shown."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.messages.texts import Tongue
from app.running.jobs import Job
from app.ui.knowledge_job import shown, told
from app.ui.knowledge_result import TEXTS, title

if TYPE_CHECKING:
    from app.running.bases import State


@dataclass(frozen=True, slots=True)
class Part:
    """A step on the page. `panels` show long work and are looked at while there is any, `lists` what can be chosen.

    `begins`: events that begin long work. `changes`: events after which the lists are looked at anew.
    """

    panels: list[Any]
    lists: list[Any]
    begins: list[Any]
    changes: list[Any]


def latest(state: "State", *kinds: str) -> Job | None:
    """The job of some kinds that is running, or else the last that did."""
    jobs = [job for job in state.jobs.latest("setup-") if job.key.partition(" ")[0] in kinds]
    return next((job for job in jobs if job.state == "running"), jobs[0] if jobs else None)


def begin(state: "State", key: str, owner: str, work: Callable[[Any], Any], said: Tongue, *kinds: str) -> Job:
    """Start long work; an error for Gradio where work of these kinds is running."""
    running = latest(state, *kinds)
    if running is not None and running.state == "running":
        raise shown(TEXTS[said]["busy_setup"].format(title(running, TEXTS[said])))
    return state.jobs.start(key, key, owner, work)


def canceller(state: "State", jobs: Callable[[], Iterable[Job | None]]) -> Any:
    """A callback that cancels those of some jobs that are running."""
    import gradio as gr

    def cancel(request: gr.Request) -> None:
        state.users.require(request, "admin")
        for job in jobs():
            if job and job.state == "running":
                state.jobs.cancel(job.id)

    return told(cancel)
