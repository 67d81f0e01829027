"""Encrypted files are read by a password that is known, and are what they were without one."""

import hashlib
import os
import struct
import zlib
from base64 import b64encode
from io import BytesIO
from zipfile import ZipFile, ZipInfo

import pikepdf
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from core.config import IngestConfig
from core.errors import ReadError
from ingest.read import read_bytes
from ingest.unlock import package_of, unlocked
from tests.ingest.readers.test_pdf import build, saved

CFG = IngestConfig()
PASSWORDS = ["wrong", "秘密 1", "s3cret"]


def encrypted_pdf(user: str) -> bytes:
    out = BytesIO()
    with pikepdf.open(BytesIO(saved(build([["Travel expenses are paid"]])))) as pdf:
        pdf.save(out, encryption=pikepdf.Encryption(user=user, owner="owner"))
    return out.getvalue()


def test_a_pdf_is_read_by_one_of_several_passwords_and_refused_without() -> None:
    data = encrypted_pdf("s3cret")
    with pytest.raises(ReadError, match="the PDF needs a password") as error:
        read_bytes("a.pdf", data, CFG)
    assert "`ragstone unlock`" in error.value.hint
    assert unlocked(data, ["wrong"]) == data
    assert "Travel expenses" in read_bytes("a.pdf", unlocked(data, PASSWORDS), CFG).text


def test_a_pdf_that_everybody_may_open_and_files_that_are_none_are_left_as_they_are() -> None:
    damaged = (b"%PDF-1.7 /Encrypt no", b"PK no zip", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 no", b"x", b"")
    for data in (encrypted_pdf(""), *damaged):
        assert unlocked(data, PASSWORDS) == data


class ZipCrypto:
    """The old encryption of zip archives (APPNOTE 6.1)."""

    def __init__(self, password: bytes) -> None:
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self._update(byte)

    def _update(self, byte: int) -> None:
        def crc(old: int, byte: int) -> int:
            return zlib.crc32(bytes([byte]), old ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

        a, b, c = self.keys
        a = crc(a, byte)
        b = ((b + (a & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        self.keys = [a, b, crc(c, b >> 24)]

    def __call__(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            k = self.keys[2] | 2
            out.append(byte ^ ((k * (k ^ 1)) >> 8 & 0xFF))
            self._update(byte)
        return bytes(out)


def encrypted_zip(name: str, content: bytes, password: str) -> bytes:
    crc, sealed = zlib.crc32(content), ZipCrypto(password.encode())
    body = sealed(os.urandom(11) + bytes([crc >> 24]) + content)
    sizes = struct.pack("<HHIII", 0, 0, crc, len(body), len(content))
    local = b"PK\3\4" + struct.pack("<HHH", 20, 1, 0) + sizes + struct.pack("<HH", len(name), 0) + name.encode() + body
    central = b"PK\1\2" + struct.pack("<HHHH", 20, 20, 1, 0) + sizes
    central += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name.encode()
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def test_a_zip_archive_is_read_by_its_password() -> None:
    data = encrypted_zip("note.txt", b"Annual leave is 25 days.", "秘密 1")
    with pytest.raises(ReadError, match="password-protected"):
        read_bytes("a.zip", data, CFG)
    assert unlocked(data, ["wrong"]) == data
    assert "25 days" in read_bytes("a.zip", unlocked(data, PASSWORDS), CFG).text


def agile(content: bytes, password: str) -> tuple[bytes, bytes]:
    """The streams of an Office document that is encrypted as Office does it."""
    salt, key, key_salt, spins = os.urandom(16), os.urandom(32), os.urandom(16), 1000

    def sealed(key: bytes, iv: bytes, data: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
        return encryptor.update(data + b"\0" * (-len(data) % 16)) + encryptor.finalize()

    hashed = hashlib.sha512(salt + password.encode("utf-16-le")).digest()
    for n in range(spins):
        hashed = hashlib.sha512(struct.pack("<I", n) + hashed).digest()

    def by_password(block: str, data: bytes) -> str:
        return b64encode(sealed(hashlib.sha512(hashed + bytes.fromhex(block)).digest()[:32], salt, data)).decode()

    verifier = os.urandom(16)
    package = struct.pack("<Q", len(content))
    for n, start in enumerate(range(0, len(content), 4096)):
        iv = hashlib.sha512(key_salt + struct.pack("<I", n)).digest()[:16]
        package += sealed(key, iv, content[start : start + 4096])
    how = 'saltSize="16" blockSize="16" keyBits="256" hashSize="64" hashAlgorithm="SHA512"'
    info = f"""<encryption xmlns="http://schemas.microsoft.com/office/2006/encryption"
      xmlns:p="http://schemas.microsoft.com/office/2006/keyEncryptor/password"><keyData {how}
      saltValue="{b64encode(key_salt).decode()}"/><keyEncryptors><keyEncryptor><p:encryptedKey {how} spinCount="{spins}"
      saltValue="{b64encode(salt).decode()}" encryptedVerifierHashInput="{by_password("fea7d2763b4b9e79", verifier)}"
      encryptedVerifierHashValue="{by_password("d7aa0f6d3061344e", hashlib.sha512(verifier).digest())}"
      encryptedKeyValue="{by_password("146e0be7abacd0d6", key)}"/></keyEncryptor></keyEncryptors></encryption>"""
    return b"\4\0\4\0\x40\0\0\0" + info.encode(), package


def test_the_package_of_an_office_document_comes_out_whole() -> None:
    content = os.urandom(10_001)
    info, package = agile(content, "秘密 1")
    assert package_of(info, package, ["wrong"]) is None
    assert package_of(info, package, PASSWORDS) == content
    greedy = info.replace(b'spinCount="1000"', b'spinCount="99999999999"')
    assert package_of(greedy, package, PASSWORDS) is None


def test_a_plain_archive_is_not_written_anew() -> None:
    plain = BytesIO()
    with ZipFile(plain, "w") as archive:
        archive.writestr(ZipInfo("a.txt"), "text")
    data = plain.getvalue()
    assert unlocked(data, PASSWORDS) is data
