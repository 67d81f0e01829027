"""Mails as they come: encodings, alternatives, attachments, messages in messages, Outlook's own forms."""

import base64
import contextlib
import struct
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.read import read_bytes
from tests.ingest.readers.compound import Tree, compound

CFG = IngestConfig()
HEAD = b"From: Ann <ann@example.com>\r\nTo: bob@example.com\r\nSubject: Leave\r\n"
# MS-OXRTFCP 4.1.1: "{\rtf1\ansi\ansicpg1252\pard hello world}"
PACKED_RTF = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)


def eml(data: bytes, cfg: IngestConfig = CFG) -> Document:
    return read_bytes("x.eml", data, cfg)


def test_headers_come_first_then_the_text() -> None:
    document = eml(HEAD + b"Date: Thu, 2 Jan 2025 10:00:00 +0800\r\nX-Spam: no\r\n\r\nFive days.\r\n")
    assert document.text == (
        "Subject: Leave\nFrom: Ann <ann@example.com>\nTo: bob@example.com\nDate: Thu, 2 Jan 2025 10:00:00 +0800\n\n"
        "Five days."
    )
    assert document.title == "Leave"


@pytest.mark.parametrize(("charset", "text"), [
    ("gb2312", "年假制度，镕基"), ("big5", "休假規定"), ("iso-2022-jp", "休暇の規則"),
    ("euc-kr", "휴가 규정"), ("koi8-r", "отпуск"),
])  # fmt: skip
def test_encoded_and_raw_headers_and_bodies(charset: str, text: str) -> None:
    raw = text.encode("gbk" if charset == "gb2312" else charset)
    half = len(text) // 2 if charset != "iso-2022-jp" else 0
    cut = len(text[:half].encode("gbk" if charset == "gb2312" else charset)) + (1 if charset == "gb2312" else 0)
    words = b"\r\n ".join(
        b"=?%s?B?%s?=" % (charset.encode(), base64.b64encode(piece)) for piece in (raw[:cut], raw[cut:])
    )
    body = base64.b64encode(raw)
    head = b"From: a@b\r\nSubject: %s\r\nContent-Type: text/plain; charset=%s\r\n" % (words, charset.encode())
    document = eml(head + b"Content-Transfer-Encoding: base64\r\n\r\n" + body)
    assert document.title == text
    assert document.text.endswith("\n\n" + text)


def test_bytes_beyond_ascii_in_a_header_without_any_encoding() -> None:
    assert eml("From: a@b\r\nSubject: 年假制度与差旅报销\r\n\r\n正文".encode("gb18030")).title == "年假制度与差旅报销"


def test_of_alternatives_the_plain_one_is_read_unless_it_is_empty() -> None:
    for plain, expected in (("plain words", "plain words"), ("  ", "rich words")):
        message = EmailMessage()
        message["Subject"] = "x"
        message.set_content(plain)
        message.add_alternative("<p>rich <b>words</b></p><script>no()</script>", subtype="html")
        assert eml(message.as_bytes()).text == f"Subject: x\n\n{expected}"


def test_lines_broken_for_sending_are_joined() -> None:
    head = HEAD + b"Content-Type: text/plain; format=flowed\r\n\r\n"
    assert eml(head + b"one \r\ntwo\r\nthree\r\n-- \r\nAnn").text.endswith("one two\nthree\n-- \nAnn")


def test_attachments_are_read_by_their_own_readers_below_their_names() -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("see below")
    message.add_attachment(b"City,Fare\nBonn,40\n", maintype="text", subtype="csv", filename="票价.csv")
    message.add_attachment(b"PK\x03\x04 broken", maintype="application", subtype="x", filename="a.docx")
    message.add_attachment(b"MZ", maintype="application", subtype="x", filename="a.exe")
    message.add_attachment(b"# Inner\n\nwords", maintype="text", subtype="markdown", filename="b.md")
    document = eml(message.as_bytes())
    assert [s.headings for s in document.sections] == [(), (), ("票价.csv",), ("b.md", "Inner")]
    assert "City: Bonn | Fare: 40" in document.text
    assert document.tables == 1
    assert [note.split(":")[0] for note in document.notes] == ["a.docx", "files inside without a reader"]


def nested(depth: int) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = f"level {depth}"
    message.set_content(f"text {depth}")
    if depth:
        message.add_attachment(nested(depth - 1))
    return message


def test_messages_in_messages_are_read_to_the_depth_of_archives() -> None:
    document = eml(nested(3).as_bytes())
    assert [f"text {depth}" in document.text for depth in range(4)] == [False, True, True, True]
    assert document.notes == ("level 2/level 1/level 0: nested too deeply",)
    assert ("level 2", "level 1") in [s.headings for s in document.sections]


def test_a_mail_without_any_header_of_a_mail_is_refused() -> None:
    with pytest.raises(ReadError, match="not a mail"):
        eml(b"just: words\n\nand more")


def test_a_mailbox_holds_messages_under_their_subjects() -> None:
    data = (
        b"From ann Thu Jan  2 10:00:00 2025\n"
        + HEAD
        + b"\n>From here on\n\nFrom bob Fri Jan  3 10:00:00 2025\nSubject: Pay\n\n40"
    )
    document = read_bytes("x.mbox", data, CFG)
    assert [s.headings for s in document.sections] == [("Leave",), ("Leave",), ("Pay",), ("Pay",)]
    assert "\nFrom here on" in document.text
    with pytest.raises(ReadError, match="not a mailbox"):
        read_bytes("x.mbox", b"Subject: x\n\ny", CFG)


def tnef(*attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<BII", 1, key, len(value)) + value + b"\0\0" for key, value in attributes)
    return b"\x78\x9f\x3e\x22\x01\x00" + body


def test_winmail_dat_gives_its_text_and_its_files() -> None:
    properties = struct.pack("<I", 2) + struct.pack("<HHI", 3, 0x3FDE, 1252)
    properties += struct.pack("<HHII", 0x102, 0x1009, 1, len(PACKED_RTF)) + PACKED_RTF
    data = tnef((0x69003, properties), (0x69002, b"\0"), (0x18010, b"a.txt\0"), (0x6800F, b"attached words"))
    message = MIMEMultipart()
    message["Subject"] = "x"
    message.attach(MIMEText(" "))
    part = EmailMessage()
    part.set_content(data, "application", "ms-tnef", filename="winmail.dat")
    message.attach(part)
    document = eml(message.as_bytes())
    assert document.text == "Subject: x\n\nhello world\n\nattached words"
    assert document.sections[-1].headings == ("a.txt",)


def storage(size: int, **properties: Any) -> Tree:
    """A storage of MAPI properties: `S0037` is a Unicode string, `B1009` bytes, `A1000` 8-bit characters."""
    kinds = {"S": "001F", "B": "0102", "A": "001E", "M": "000D"}
    streams: Tree = {
        f"__substg1.0_{key[1:]}{kinds[key[0]]}": value for key, value in properties.items() if key[0] in kinds
    }
    fixed = [struct.pack("<HHIQ", 0x40, 0x39, 6, 133_802_496_000_000_000), struct.pack("<HHIQ", 3, 0x3FFD, 6, 936)]
    return streams | {"__properties_version1.0": b"\0" * size + b"".join(fixed)}


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def test_an_outlook_message_with_attachments_and_a_message_within() -> None:
    inner = storage(24, S0037=wide("Inner"), S1000=wide("inner words"))
    data = compound(
        storage(
            32, S0037=wide("年假"), S0C1A=wide("Ann"), S0C1F=wide("ann@example.com"), A1000="正文内容".encode("gbk")
        )
        | {"__recip_version1.0_#00000000": storage(8, S3001=wide("Bob"))}
        | {"__attach_version1.0_#00000000": storage(8, S3707=wide("a.txt"), B3701=b"attached words")}
        | {"__attach_version1.0_#00000001": storage(8, S3001=wide("mail"), M3701=inner)}
        | {"__attach_version1.0_#00000002": storage(8, S3707=wide("a.exe"), B3701=b"MZ")}
    )
    document = read_bytes("x.msg", data, CFG)
    sections = [(s.headings, document.text[s.start : s.end]) for s in document.sections]
    assert sections == [
        ((), "Subject: 年假\nFrom: Ann <ann@example.com>\nTo: Bob\nDate: 2025-01-02 00:00 UTC"),
        ((), "正文内容"),
        (("a.txt",), "attached words"),
        (("Inner",), "Subject: Inner\nDate: 2025-01-02 00:00 UTC"),
        (("Inner",), "inner words"),
    ]
    assert (document.title, document.date) == ("年假", "2025-01-02")
    assert document.notes == ("files inside without a reader: 1 .exe",)


@pytest.mark.parametrize("body", [{"B1009": PACKED_RTF}, {"B1013": b"<p>hello world</p>"}])
def test_an_outlook_message_with_only_rtf_or_html(body: dict[str, bytes]) -> None:
    document = read_bytes("x.msg", compound(storage(32, S0037=wide("x"), **body)), CFG)
    assert document.text.endswith("\n\nhello world")


def test_a_compound_file_that_is_no_message_is_refused() -> None:
    with pytest.raises(ReadError, match="no properties"):
        read_bytes("x.msg", compound({"Other": b"x"}), CFG)


@pytest.mark.parametrize(
    ("line", "day"),
    [(b"Date: Thu, 2 Jan 2025 23:30:00 -0800\r\n", "2025-01-02"), (b"Date: some day\r\n", ""), (b"", "")],
)
def test_the_date_is_that_of_sending_where_the_sender_was(line: bytes, day: str) -> None:
    assert eml(HEAD + line + b"\r\nx").date == day


def both(plain: str, page: str) -> Document:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content(plain)
    message.add_alternative(page, subtype="html")
    return eml(message.as_bytes())


def test_the_fuller_of_plain_and_html_is_read() -> None:
    long = "<p>" + "The rent rises to 480 euros from May on. " * 5 + "</p>"
    assert "480 euros" in both("Your program cannot show this mail.", long).text
    assert "https" in both("The rent rises. https://a.example/" + "x" * 200, "<p>The rent rises.</p>").text


def test_a_table_in_an_html_mail_keeps_its_columns() -> None:
    table = "<table><tr><th>City<th>Fare</tr><tr><td>Bonn<td>40</tr></table>"
    document = both("City Fare\nBonn 40\n", table)
    assert document.text.endswith("| City | Fare |\n| --- | --- |\n| Bonn | 40 |")
    assert document.tables == 1


@pytest.mark.parametrize("subject", ["请假单", "报价单", "会议", "关于五一放假的通知", "合同"])
@pytest.mark.parametrize("declared", [True, False])
def test_raw_headers_are_in_the_charset_of_the_text(subject: str, declared: bool) -> None:
    kind = b"Content-Type: text/plain; charset=gb2312\r\n" if declared else b""
    body = "请各部门于本周五之前提交，逾期不候。附件为模板，如有问题请联系人力资源部。".encode("gbk")
    document = eml(b"From: a@b\r\nSubject: %s\r\n%s\r\n%s" % (subject.encode("gbk"), kind, body))
    assert document.title == subject
    assert eml(b"From: a@b\r\nSubject: %s\r\n%s\r\n%s" % (subject.encode(), kind, body)).title == subject


def test_a_raw_name_of_an_attachment_is_in_the_charset_of_the_text() -> None:
    part = (
        b'--b\r\nContent-Type: text/plain; charset=gbk; name="%s.txt"\r\nContent-Disposition: attachment\r\n\r\n%s\r\n'
    )
    body = b"--b\r\nContent-Type: text/plain; charset=gbk\r\n\r\n%s\r\n" % "见附件".encode("gbk")
    data = body + part % ("报价".encode("gbk"), "九十元".encode("gbk")) + b"--b--"
    document = eml(b"From: a@b\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + data)
    assert document.sections[-1].headings == ("报价.txt",)


def sections(document: Document) -> list[tuple[tuple[str, ...], str]]:
    return [(s.headings, document.text[s.start : s.end]) for s in document.sections[1:]]


@pytest.mark.parametrize(
    "lead",
    [
        "On Mon, 3 Feb 2025 at 10:00, Ann Lee <ann@example.com> wrote:", "在 2025年2月3日，张三 <z@example.com> 写道：",
        "Am 03.02.2025 um 10:00 schrieb Ann Lee:", "Le lun. 3 févr. 2025, Ann Lee a écrit :",
    ],
)  # fmt: skip
def test_what_is_quoted_from_the_mail_before_is_known_as_quoted(lead: str) -> None:
    document = eml(
        HEAD
        + b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
        + f"It is 480 now.\n\n{lead}\n> It is 450.\n>\n> Ann\n\nBob\n".encode()
    )
    (first, own), (quoted, said), (last, rest) = sections(document)
    assert (first, own, last, rest) == ((), "It is 480 now.", (), "Bob")
    assert quoted == (f"quoted: {lead.rstrip(':： ')[:80]}",)
    assert "> It is 450." in said


@pytest.mark.parametrize(
    "block",
    [
        "From: Ann Lee\nSent: Monday, 3 February 2025\nTo: Bob\nSubject: Rent\n\nIt is 450.",
        "发件人: 张三\n发送时间: 2025年2月3日\n收件人: 李四\n主题: 租金\n\nIt is 450.",
        "-----Original Message-----\nFrom: Ann\nSent: Monday\n\nIt is 450.",
        "------------------ 原始邮件 ------------------\nIt is 450.",
    ],
)  # fmt: skip
def test_the_history_below_a_mail_is_known_as_quoted(block: str) -> None:
    data = HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\nIt is 480 now.\n\n" + block.encode()
    (first, own), (quoted, said) = sections(eml(data))
    assert (first, own) == ((), "It is 480 now.")
    assert quoted[0].startswith("quoted")
    assert said.endswith("It is 450.")


def test_a_quotation_in_html_is_known_as_quoted_and_its_table_stays_one() -> None:
    document = both(
        "-", "<p>It is 480 now, from the first of May on, for all.</p><blockquote type=cite><h2>Rent</h2>"
        "<table><tr><th>Flat<th>Rent</tr><tr><td>3<td>450</tr></table><p>Ann</p></blockquote><p>Bob</p>",
    )  # fmt: skip
    (_, own), (quoted, said), (_, rest) = sections(document)
    assert own.startswith("It is 480")
    assert (quoted, rest) == (("quoted",), "Bob")
    assert "| Flat | Rent |\n| --- | --- |\n| 3 | 450 |" in said
    assert "> Ann" in said


def test_a_sentence_about_writing_begins_no_quotation() -> None:
    data = HEAD + b"\r\nFrom: here on it is easy.\nOn Monday we wrote: nothing more to say.\nBye"
    assert [headings for headings, _ in sections(eml(data))] == [()]


def with_picture(size: int, cfg: IngestConfig) -> Document:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("see the picture")
    message.add_alternative("<p>see the picture</p><img src='cid:a'>", subtype="html")
    page = message.get_payload()[1]  # type: ignore[index]
    page.add_related(b"\x89PNG\r\n" + b"\0" * size, "image", "png", cid="<a>", filename="plan.png")  # type: ignore[union-attr]
    return eml(message.as_bytes(), cfg)


def test_pictures_in_the_text_are_named_where_they_cannot_be_recognised_and_small_ones_are_passed_over() -> None:
    off = IngestConfig(ocr="off")
    assert with_picture(9000, off).notes == ("plan.png: a picture in the text, not recognised",)
    assert with_picture(100, off).notes == ()


def test_winmail_dat_alone_with_a_message_within_and_texts_in_its_code_page() -> None:
    inner = tnef((0x69003, mapi({0x0037: "Inner"})), (0x2800C, b"inner words"))
    about = mapi({0x3001: "mail"}, {0x3701: b"\0" * 16 + inner})
    data = tnef(
        (0x69007, struct.pack("<II", 936, 0)), (0x2800C, "正文内容".encode("gbk")), (0x69002, b"\0"), (0x69005, about)
    )
    for name in ("winmail.dat", "x.tnef", "unnamed"):
        document = read_bytes(name, data, CFG)
        assert [(s.headings, document.text[s.start : s.end]) for s in document.sections] == [
            ((), "正文内容"), (("mail",), "Subject: Inner"), (("mail",), "inner words"),
        ]  # fmt: skip


def mapi(texts: dict[int, str], objects: dict[int, bytes] | None = None) -> bytes:
    """A list of MAPI properties: Unicode texts, and objects."""
    entries = [(0x1F, key, wide(text) + b"\0\0") for key, text in texts.items()]
    entries += [(0x0D, key, value) for key, value in (objects or {}).items()]
    data = struct.pack("<I", len(entries))
    for kind, key, value in entries:
        data += struct.pack("<HHII", kind, key, 1, len(value)) + value + b"\0" * (-len(value) % 4)
    return data


@pytest.mark.parametrize("cut", range(6, 120, 7))
def test_winmail_dat_that_was_cut_short_is_read_as_far_as_it_goes_or_is_one_error(cut: int) -> None:
    data = tnef((0x69003, mapi({0x0037: "Inner"})), (0x2800C, b"inner words"), (0x69002, b"\0"), (0x6800F, b"x" * 40))
    with contextlib.suppress(ReadError):
        assert read_bytes("x.tnef", data[:cut], CFG).text


def test_an_outlook_message_shows_the_fuller_form() -> None:
    page = b"<table><tr><th>City<th>Fare</tr><tr><td>Bonn<td>40</tr></table>"
    data = compound(storage(32, S0037=wide("x"), S1000=wide("City Fare Bonn 40"), B1013=page))
    assert read_bytes("x.msg", data, CFG).text.endswith("| Bonn | 40 |")


def test_two_forms_that_say_different_things_are_both_read() -> None:
    document = both("The code is 4711, keep it safe.", "<p>" + "Our summer offer begins on Monday. " * 4 + "</p>")
    assert "4711" in document.text
    assert "summer offer" in document.text


def test_an_invitation_says_when_and_where() -> None:
    stated = ("SUMMARY:Audit", "DTSTART:20250305T090000Z", "LOCATION:Room 4.12")
    event = "\r\n".join(("BEGIN:VCALENDAR", "BEGIN:VEVENT", *stated, "END:VEVENT", "END:VCALENDAR"))
    parts = (("text/plain", "Please come."), ("text/calendar; method=REQUEST", event))
    body = "".join(f"--B\r\nContent-Type: {kind}\r\n\r\n{text}\r\n" for kind, text in parts)
    head = "From: a@x.example\r\nSubject: Invitation\r\nContent-Type: multipart/alternative; boundary=B\r\n\r\n"
    text = read_bytes("a.eml", f"{head}{body}--B--\r\n".encode(), IngestConfig()).text
    assert "Please come." in text
    assert "Room 4.12" in text
    assert "2025-03-05" in text
