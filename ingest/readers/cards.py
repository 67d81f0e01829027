"""Calendars (.ics) and address cards (.vcf) -> an entry a section, a field a line.

Times stay as they are written, with their zone; the last day of an entry of whole days is the last that it covers.
Sources: RFC 5545 (iCalendar), RFC 6350 and vCard 2.1 (versit).
"""

import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from core.config import IngestConfig
from core.types import Document
from ingest.readers.encoding import decode, decode_as
from ingest.readers.text import Part, assemble, collapse, shapeless

_FIELD = re.compile(r'((?:[\w-]+\.)?[\w-]+)((?:;[^:;="\n]*+(?:=(?:"[^"\n]*+"|[^:;"\n]++)*+)?+)*+):(.*)', re.S)
_PARAMETER = re.compile(r';([\w-]+)(?:=((?:"[^"]*+"|[^;"]++)*+))?+')
_NAMES = {  # the fields that say something to a person, by the order they are written in
    "SUMMARY": "", "FN": "", "X-WR-CALNAME": "Calendar", "ORG": "Organization", "TITLE": "Title", "ROLE": "Role",
    "NICKNAME": "Nickname", "DTSTART": "Start", "DTEND": "End", "DUE": "Due", "DURATION": "Duration",
    "RRULE": "Repeats", "RDATE": "Also on", "EXDATE": "Except on", "COMPLETED": "Completed", "LOCATION": "Location",
    "ORGANIZER": "Organizer", "ATTENDEE": "Attendee", "CONTACT": "Contact", "STATUS": "Status", "PRIORITY": "Priority",
    "PERCENT-COMPLETE": "Percent complete", "CATEGORIES": "Categories", "RESOURCES": "Resources", "TEL": "Telephone",
    "EMAIL": "Email", "ADR": "Address", "IMPP": "Messenger", "BDAY": "Birthday", "ANNIVERSARY": "Anniversary",
    "URL": "Link", "CONFERENCE": "Conference", "DESCRIPTION": "Description", "NOTE": "Note", "COMMENT": "Comment",
}  # fmt: skip
_TIMES = frozenset(("DTSTART", "DTEND", "DUE", "RDATE", "EXDATE", "COMPLETED", "BDAY", "ANNIVERSARY"))
_PEOPLE = frozenset(("ORGANIZER", "ATTENDEE"))
_ENTRIES = frozenset(("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VCARD", "VCALENDAR"))
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:T(\d\d):?(\d\d)(?::?(\d\d))?(Z|[+-]\d\d:?\d\d)?)?")
_KINDS = frozenset("HOME WORK CELL FAX VOICE PAGER MAIN OTHER".split())
_ESCAPED = re.compile(r"\\([nN,;:\\])")


@dataclass(slots=True)
class _Field:
    name: str
    parameters: dict[str, list[str]]
    value: str

    def parameter(self, name: str) -> str:
        return ",".join(self.parameters.get(name, ()))


def read_cards(data: bytes, cfg: IngestConfig) -> Document:
    """A calendar or cards; what programs alone need (ids, alarms, rules of time zones, pictures) is left out."""
    text, encoding = decode(data, cfg)
    parts: list[Part] = []
    open_entries: list[tuple[str, list[_Field]]] = []
    for field in _fields(re.sub("\r\n?", "\n", text), cfg):
        if field.name == "BEGIN":
            open_entries.append((field.value.strip().upper(), []))
        elif field.name == "END":
            if open_entries and open_entries[-1][0] in _ENTRIES:
                parts.append(_part(open_entries[-1][1]))
            open_entries[-1:] = []
        elif open_entries:
            open_entries[-1][1].append(field)
    parts += [_part(fields) for kind, fields in open_entries if kind in _ENTRIES]  # of a file that is cut short
    return assemble(parts, encoding=encoding, notes=shapeless(text))


def _fields(text: str, cfg: IngestConfig) -> Iterator[_Field]:
    lines = iter(re.sub("\n[ \t]", "", text).split("\n"))
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            continue
        parameters: dict[str, list[str]] = {}
        for key, value in _PARAMETER.findall(found[2]):
            name, said = (key.upper(), value.strip('"')) if value else ("TYPE", key)  # vCard 2.1 leaves out TYPE=
            parameters.setdefault("ENCODING" if said.upper() == "QUOTED-PRINTABLE" else name, []).append(said)
        value = found[3]
        if "QUOTED-PRINTABLE" in (each.upper() for each in parameters.get("ENCODING", ())):
            while value.endswith("="):
                value = value[:-1] + next(lines, "")
            raw = quopri.decodestring(value.encode("utf-8", "replace"))
            value = decode_as(raw, parameters.get("CHARSET", ["utf-8"])[0], cfg) if raw.strip() else ""
        yield _Field(found[1].rpartition(".")[2].upper(), parameters, value)


def _part(fields: list[_Field]) -> Part:
    """An entry; its first line, and its heading, is what it is called."""
    lines: dict[str, list[str]] = {name: [] for name in _NAMES}
    whole_days = any(field.name == "DTSTART" and "T" not in field.value for field in fields)
    for field in fields:
        if field.name in _NAMES and not {"B", "BASE64"} & {
            each.upper() for each in field.parameters.get("ENCODING", ())
        }:
            said = _said(field, whole_days)
            if said and said not in lines[field.name]:
                lines[field.name].append(said)
    heading = collapse(next((text for name in ("SUMMARY", "FN") for text in lines[name]), ""))
    written = (f"{_NAMES[name]}: {text}" if _NAMES[name] else text for name, texts in lines.items() for text in texts)
    return Part("\n".join(written), (heading,) if heading else ())


def _said(field: _Field, whole_days: bool) -> str:
    if field.name in _TIMES:
        zone = field.parameter("TZID")
        return ", ".join(_time(one, zone, whole_days and field.name == "DTEND") for one in field.value.split(","))
    if field.name in _PEOPLE:
        name, address = field.parameter("CN"), re.sub("^mailto:", "", field.value.strip(), flags=re.I)
        return f"{name} ({address})" if name and address and name != address else name or address
    if field.name == "RRULE":
        return field.value.lower().replace(";", ", ").replace("=", " ")
    if field.name in ("ADR", "ORG"):
        pieces = re.split(r"(?<!\\);", field.value)
        value = ", ".join(filter(None, (_plain(piece).strip() for piece in pieces)))
    else:
        value = _plain(field.value).strip()
    value = value.removeprefix("tel:") if field.name == "TEL" else value
    kinds = [kind.lower() for kind in field.parameter("TYPE").split(",") if kind.upper() in _KINDS]
    return f"{value} ({', '.join(kinds)})" if kinds and value else value


def _time(text: str, zone: str, until: bool) -> str:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return _plain(text).strip()
    year, month, day, hour, minute, second, offset = found.groups()
    if hour is None:
        try:
            written = date(int(year), int(month), int(day)) - timedelta(days=1 if until else 0)
        except (ValueError, OverflowError):
            return text.strip()
        return written.isoformat()
    seconds = f":{second}" if second and second != "00" else ""
    where = "UTC" if offset == "Z" else offset or zone
    return f"{year}-{month}-{day} {hour}:{minute}{seconds} {where}".strip()


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], text)
