"""Calendars and address cards."""

from core.config import IngestConfig
from core.types import Document
from ingest.read import read_bytes


def read(name: str, *lines: str) -> Document:
    return read_bytes(name, "\r\n".join(lines).encode(), IngestConfig())


def test_an_event_is_read_as_a_calendar_shows_it() -> None:
    document = read(
        "x.ics", "BEGIN:VCALENDAR", "BEGIN:VTIMEZONE", "TZID:Z", "BEGIN:STANDARD", "DTSTART:16010101T000000",
        "END:STANDARD", "END:VTIMEZONE", "BEGIN:VEVENT", "UID:17", "SUMMARY:Plan\\, review",
        "DTSTART;TZID=Asia/Shanghai:20260501T090000", "DTEND:20260501T020000Z", "DESCRIPTION:Long te", " xt\\nsecond",
        'ATTENDEE;CN="Li, Wei";PARTSTAT=ACCEPTED:mailto:li@x.cn', "BEGIN:VALARM", "DESCRIPTION:Reminder", "END:VALARM",
        "END:VEVENT", "BEGIN:VEVENT", "SUMMARY:假期", "DTSTART;VALUE=DATE:20261001", "DTEND;VALUE=DATE:20261008",
        "END:VEVENT", "END:VCALENDAR",
    )  # fmt: skip
    assert document.text == (
        "Plan, review\nStart: 2026-05-01 09:00 Asia/Shanghai\nEnd: 2026-05-01 02:00 UTC\nAttendee: Li, Wei (li@x.cn)\n"
        "Description: Long text\nsecond\n\n假期\nStart: 2026-10-01\nEnd: 2026-10-07"
    )
    assert [section.headings for section in document.sections] == [("Plan, review",), ("假期",)]


def test_a_card_is_read_without_its_codes() -> None:
    name = ("FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=E6=9D=8E=", "=E4=BC=9F")
    document = read(
        "x.vcf", "BEGIN:VCARD", "VERSION:2.1", *name, "TEL;CELL:+86 10 1234",
        "ADR;TYPE=WORK:;;Main St 1\\, Hof;Ulm;;;DE",
        "item1.EMAIL;TYPE=INTERNET:a@b.c", "PHOTO;ENCODING=BASE64;TYPE=JPEG:QUFB", " QUFB", "", "END:VCARD",
    )  # fmt: skip
    assert document.text == (
        "李伟\nTelephone: +86 10 1234 (cell)\nEmail: a@b.c\nAddress: Main St 1, Hof, Ulm, DE (work)"
    )


def test_a_card_of_an_old_phone_in_gbk() -> None:
    raw = b"BEGIN:VCARD\r\nFN;CHARSET=GBK;ENCODING=QUOTED-PRINTABLE:=C0=EE=CE=B0\r\nNOTE:x\r\nEND:VCARD\r\n"
    assert read_bytes("x.vcf", raw, IngestConfig()).text == "李伟\nNote: x"
