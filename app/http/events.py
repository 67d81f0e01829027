"""What reaches Gradio: the few of its routes that the page needs, events that name no file of somebody else, uploads.

Gradio copies every file that an event's data names into its cache before a callback runs, and serves its cache to
whoever knows a name. So an event is read here first: where the page has a field for files, it may name what its sender
has uploaded; anywhere else it is text, numbers and choices. A session, by which Gradio tells pages apart, belongs to
whoever began it.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.gate import bounded, refused
from app.http.streams import Streams
from app.running.uploads import Uploads
from core.errors import AccessError

if TYPE_CHECKING:
    from app.http.sessions import Sessions
    from app.running.users import User

# What a page of Gradio's asks for; its proxy, streams, API, deep links, recordings and editors stay closed.
_OPEN = {
    "GET": ("/", "/config", "/theme.css", "/favicon.ico", "/gradio_api/startup-events", "/gradio_api/app_id"),
    "POST": ("/gradio_api/reset",),  # which does nothing
}
_OPEN_BELOW = ("/assets/", "/static/")
_JOIN, _DATA, _CANCEL = "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/cancel"
_BEAT, _FILE = "/gradio_api/heartbeat/", "/gradio_api/file="
_UPLOAD, _UPLOADING = "/gradio_api/upload", "/gradio_api/upload_progress"
_TEXT = frozenset({"textbox", "markdown", "html", "code"})
_FILE_KINDS = frozenset({"file", "uploadbutton"})
_SESSIONS = 10_000  # that are remembered; of those of which nothing else is kept the one begun first goes first
_NAMED = 100  # characters of a session's name; Gradio's have eleven
# Events that are not done: of one kind (of those by which a page fills itself: pages opened at once) and of all kinds
# of a person; and of all people. Gradio takes any number, and works off those of one person before those of the next.
_ALIKE, _OPENING, _PERSONS, _ALL = 10, 40, 200, 2_000
_UPLOADS = 1_000  # names of uploads that are remembered, whose progress their senders may see


class Events:
    """Stands between the page's events and Gradio, inside the gate, which says in `scope["user"]` who sent them.

    `inputs`: of each event, the kinds of the components it reads. `drops`: how many bytes somebody may drop into
    conversations, which is all that those upload who may upload nothing else; 0 for nothing.
    """

    def __init__(
        self, app: ASGIApp, *, uploads: Uploads, inputs: Mapping[int, Sequence[str]], sessions: "Sessions",
        drops: "Callable[[User], int]" = lambda _: 0,
    ) -> None:  # fmt: skip
        self.app, self.uploads, self.inputs, self.sessions, self.drops = app, uploads, inputs, sessions, drops
        self._sessions: OrderedDict[str, str] = OrderedDict()  # session -> whose it is
        self._uploading: OrderedDict[str, str] = OrderedDict()  # name of an upload -> whose it is
        self._streams = Streams(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            user = _sender(scope)
            if path == _UPLOAD:
                most = None if user.may("editor") else self.drops(user)
                if most == 0:
                    raise _Refused(403, f"uploads need the role 'editor', {user.name!r} is {user.role!r}")
                if not self._own_upload(request, user.id):
                    raise _Refused(403, "an upload of this name is somebody else's")
                await self._upload(request, user.id, send, most)
                return
            if path in (_JOIN, _CANCEL) and request.method == "POST":
                event = self._checked(path, await _json(request), user.id)
                receive = _again(event, receive)
                if path == _JOIN:
                    self._admit(event["fn_index"], user.id)
                    await self._streams.join(event["session_hash"], scope, receive, send)
                    return
            elif not self._open(request, path, user.id):
                raise _Refused(HTTPStatus.NOT_FOUND, f"there is no {path[:100]!r} here")
        except _Refused as error:
            await refused(error.status, str(error), "load the page again")(scope, receive, send)
            return
        except AccessError as error:
            await refused(409, error.message, error.hint)(scope, receive, send)
            return
        if path == _DATA:
            with self.sessions.connected(session := _session(request)):
                await self._streams.stream(session, scope, receive, send)
            return
        if path.startswith(_BEAT):
            with self.sessions.connected(path.removeprefix(_BEAT)):
                await self.app(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _open(self, request: Request, path: str, who: str) -> bool:
        """Whether a request may pass that brings no data."""
        method = "GET" if request.method == "HEAD" else request.method
        if path in _OPEN.get(method, ()) or (method == "GET" and path.startswith(_OPEN_BELOW)):
            return True
        if method != "GET":
            return False
        if path == _DATA:
            return bool(named := _session(request)) and self._own(named, who)
        if path.startswith(_BEAT):
            return self._own(path.removeprefix(_BEAT), who)
        if path.startswith(_FILE):
            return self.uploads.owns(who, path.removeprefix(_FILE))
        return path == _UPLOADING and self._own_upload(request, who)

    def _own_upload(self, request: Request, who: str) -> bool:
        """Whether the upload that an address names, if it names one, is somebody's own; a new name becomes so."""
        names = parse_qs(request.scope["query_string"].decode("latin-1")).get("upload_id", [])
        if any(self._uploading.setdefault(name[:_NAMED], who) != who for name in names):
            return False
        while len(self._uploading) > _UPLOADS:
            self._uploading.popitem(last=False)
        return True

    def _admit(self, number: int, who: str) -> None:
        """Let an event join the queue, unless too much of its sender's, or of everybody's, is not done."""
        queue, function = self.sessions.blocks._queue, self.sessions.blocks.fns[number]
        waiting = list(queue.event_ids_to_events.values())
        own = [event for event in waiting if self._sessions.get(event.session_hash) == who]
        alike = sum(event.fn is function for event in own)
        most = _OPENING if any(kind == "load" for _, kind in function.targets) else _ALIKE
        if alike >= most or len(own) >= _PERSONS or len(waiting) >= _ALL:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too much of what was asked is not done yet")

    def _own(self, session: str, who: str) -> bool:
        """Whether a session is somebody's own; one that nobody has becomes so."""
        if not 0 < len(session) <= _NAMED:
            return False
        owner = self._sessions.setdefault(session, who)
        for _ in range(len(self._sessions) - 1):
            if len(self._sessions) <= _SESSIONS:
                break
            first = next(iter(self._sessions))
            if self.sessions.kept(first):  # else whoever names it next had its states and its stream
                self._sessions.move_to_end(first)
            else:
                del self._sessions[first]
        return owner == who

    def _checked(self, path: str, body: Any, who: str) -> dict[str, Any]:
        """What of an event goes on to Gradio: nothing but what was looked at."""
        session = body.get("session_hash")
        if not isinstance(session, str) or not self._own(session, who):
            raise _Refused(HTTPStatus.FORBIDDEN, "this session is somebody else's")
        number = body.get("fn_index")
        if path == _CANCEL:
            event = self.sessions.blocks._queue.event_ids_to_events.get(str(body.get("event_id")))
            if event is not None and event.session_hash != session:
                raise _Refused(HTTPStatus.FORBIDDEN, "this event is of another session")
            return {"session_hash": session, "fn_index": number, "event_id": body.get("event_id")}
        kinds = self.inputs.get(number) if type(number) is int else None
        data, happened = body.get("data"), body.get("event_data")
        if kinds is None or not isinstance(data, list) or len(data) != len(kinds):
            raise _Refused(HTTPStatus.BAD_REQUEST, "this is no event of the page")
        values = [self._value(kind, value, who) for kind, value in zip(kinds, data, strict=True)]
        if _names_file(happened):
            raise _Refused(HTTPStatus.BAD_REQUEST, "an event names a file where none belongs")
        try:
            json.dumps([values, happened], ensure_ascii=False).encode()
        except UnicodeEncodeError:  # nothing could be answered that repeats it
            raise _Refused(HTTPStatus.BAD_REQUEST, "an event holds half of a character") from None
        return {
            "data": values, "event_data": happened, "fn_index": number, "session_hash": session,
            "trigger_id": body.get("trigger_id"),
        }  # fmt: skip

    def _value(self, kind: str, value: Any, who: str) -> Any:
        """The value of one component, as it goes on."""
        if kind == "state" or value is None:
            return None
        if kind in _FILE_KINDS:
            return [self._file(file, who) for file in value] if isinstance(value, list) else self._file(value, who)
        if kind in _TEXT and not isinstance(value, str):
            raise _Refused(HTTPStatus.BAD_REQUEST, "a text box takes text")
        if _names_file(value):
            raise _Refused(HTTPStatus.BAD_REQUEST, "an event names a file where none belongs")
        return value

    def _file(self, file: Any, who: str) -> dict[str, Any]:
        path = file.get("path") if isinstance(file, dict) else None
        if not isinstance(path, str) or not self.uploads.owns(who, path):
            raise _Refused(HTTPStatus.FORBIDDEN, "this file was not uploaded by you, or is gone: choose it again")
        return {"path": path, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}

    async def _upload(self, request: Request, who: str, send: Send, most: int | None) -> None:
        """Let Gradio receive files, within the room that their sender and the disk have, and take them over."""
        announced = request.headers.get("content-length", "")
        wanted = int(announced) if announced.isascii() and announced.isdigit() else None
        answer: list[Message] = []

        async def kept(message: Message) -> None:
            answer.append(message)

        room, short = await asyncio.to_thread(self.uploads.reserve, who, wanted, most)
        try:
            whole = self.uploads.room_each if most is None else min(most, self.uploads.room_each)
            each = f"more than {whole // 2**20} MiB were sent and not indexed yet"
            why = "the disk is nearly full" if short == "disk" else each
            full = refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why, "index what was sent, or send less at a time")
            await bounded(self.app, room, full, request.scope, request.receive, kept)
            if answer[0]["status"] == HTTPStatus.OK:
                received = json.loads(b"".join(message.get("body", b"") for message in answer))
                taken = JSONResponse(await asyncio.to_thread(self.uploads.add, who, received))
                answer.clear()
                await taken(request.scope, request.receive, kept)
        finally:
            self.uploads.release(who, room)
        for message in answer:
            await send(message)


class _Refused(Exception):
    """A request that does not go on, and the status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _sender(scope: Scope) -> "User":
    """Who sent a request, as the gate has found out; nobody reaches the page by an address that is open to all."""
    if "user" not in scope:
        raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
    return scope["user"]


def _session(request: Request) -> str:
    """The one session that an address names; "" where it names none or several."""
    named = parse_qs(request.scope["query_string"].decode("latin-1")).get("session_hash", [])
    return named[0] if len(named) == 1 else ""


def _names_file(value: Any) -> bool:
    """Whether something that came as JSON holds what Gradio may take for a file, at any depth."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "path" in one or "_type" in one:
                return True
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return False


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return body


def _again(body: dict[str, Any], receive: Receive) -> Receive:
    """A request's body written anew, so that Gradio reads what was looked at and nothing else."""
    left: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read
