"""Mails as they come: encodings, alternatives, attachments, messages in messages, Outlook's own forms."""

import base64
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
        read_bytes("x.msg", compound({"WordDocument": b"x"}), CFG)


@pytest.mark.parametrize(
    ("line", "day"),
    [(b"Date: Thu, 2 Jan 2025 23:30:00 -0800\r\n", "2025-01-02"), (b"Date: some day\r\n", ""), (b"", "")],
)
def test_the_date_is_that_of_sending_where_the_sender_was(line: bytes, day: str) -> None:
    assert eml(HEAD + line + b"\r\nx").date == day
