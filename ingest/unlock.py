"""Files that open with a password only, opened by one of those that are known: bytes -> the same file without it.

PDF, zip archives of the old kind (ZipCrypto), and Word, Excel and PowerPoint of 2010 and later.
"""

import hashlib
import hmac
import struct
from base64 import b64decode
from collections.abc import Sequence
from io import BytesIO
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError

from ingest.readers.package import parse_xml, read_stream

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MOST_SPINS = 10_000_000  # hashes that a file may ask for; Office writes 100,000
_VERIFIER, _VERIFIED = bytes.fromhex("fea7d2763b4b9e79"), bytes.fromhex("d7aa0f6d3061344e")
_KEY = bytes.fromhex("146e0be7abacd0d6")
_SEGMENT, _SIZE = 4096, 8  # bytes of a piece of a package, and of its length before them


def unlocked(data: bytes, passwords: Sequence[str]) -> bytes:
    """A file without its password; as it is where it has none, or none of these opens it."""
    if not passwords:
        return data
    kinds = {_OLE: _office, b"PK": _archive}
    opens = next((opens for start, opens in kinds.items() if data.startswith(start)), None)
    if opens is None and b"%PDF-" in data[:1024] and b"/Encrypt" in data:
        opens = _pdf
    try:
        return opens(data, passwords) if opens else data
    except Exception:  # parsers meet hostile bytes here; what is wrong with the file, its reader says
        return data


def _pdf(data: bytes, passwords: Sequence[str]) -> bytes:
    import pikepdf

    for password in ("", *passwords):
        try:
            with pikepdf.open(BytesIO(data), password=password) as pdf:
                if not password:  # everybody may open it
                    return data
                plain = BytesIO()
                pdf.save(plain)
                return plain.getvalue()
        except pikepdf.PasswordError:
            continue
    return data


def _archive(data: bytes, passwords: Sequence[str]) -> bytes:
    with ZipFile(BytesIO(data)) as archive:
        members = archive.infolist()
        if not any(member.flag_bits & 1 for member in members):
            return data
        for password in passwords:
            plain = BytesIO()
            try:
                with ZipFile(plain, "w") as written:
                    for member in members:
                        written.writestr(member.filename, archive.read(member, password.encode()))
                return plain.getvalue()
            except (RuntimeError, BadZipFile, ZlibError, EOFError):  # by another one
                continue
    return data


def _office(data: bytes, passwords: Sequence[str]) -> bytes:
    from olefile import OleFileIO

    with OleFileIO(BytesIO(data)) as ole:
        info, package = read_stream(ole, "EncryptionInfo"), read_stream(ole, "EncryptedPackage")
    return package_of(info, package, passwords) or data


def package_of(info: bytes, package: bytes, passwords: Sequence[str]) -> bytes | None:
    """The package of a document of Office, by two streams of its file; None where none of the passwords opens it.

    Agile encryption ([MS-OFFCRYPTO] 2.3.4.10), which Office writes since 2010.
    """
    if info[:4] != b"\4\0\4\0" or len(package) < _SIZE:
        return None
    told = parse_xml(info[8:])
    whole, by_password = told.find("{*}keyData"), told.find(".//{*}encryptedKey")
    if whole is None or by_password is None:
        return None
    keys = (_key(by_password.attrib, password) for password in passwords)
    return next((_plain(whole.attrib, key, package) for key in keys if key), None)


def _key(told: "dict[str, str]", password: str) -> bytes | None:
    """The key of a package, where the password is right."""
    salt, spins = b64decode(told["saltValue"]), int(told["spinCount"])
    if not 0 <= spins <= _MOST_SPINS:
        return None
    name, size = told["hashAlgorithm"].replace("-", "").lower(), int(told["keyBits"]) // 8
    hashed = hashlib.new(name, salt + password.encode("utf-16-le")).digest()
    for n in range(spins):
        hashed = hashlib.new(name, struct.pack("<I", n) + hashed).digest()

    def opened(block: bytes, value: str) -> bytes:
        key = hashlib.new(name, hashed + block).digest()[:size].ljust(size, b"\x36")
        return _decrypted(key, salt[: int(told["blockSize"])].ljust(int(told["blockSize"]), b"\x36"), b64decode(value))

    verifier = opened(_VERIFIER, told["encryptedVerifierHashInput"])[: int(told["saltSize"])]
    expected = opened(_VERIFIED, told["encryptedVerifierHashValue"])[: int(told["hashSize"])]
    if not hmac.compare_digest(hashlib.new(name, verifier).digest(), expected):
        return None
    return opened(_KEY, told["encryptedKeyValue"])[:size]


def _plain(told: "dict[str, str]", key: bytes, package: bytes) -> bytes:
    salt, name, size = (
        b64decode(told["saltValue"]),
        told["hashAlgorithm"].replace("-", "").lower(),
        int(told["blockSize"]),
    )
    pieces = []
    for n, start in enumerate(range(_SIZE, len(package), _SEGMENT)):
        iv = hashlib.new(name, salt + struct.pack("<I", n)).digest()[:size].ljust(size, b"\x36")
        pieces.append(_decrypted(key, iv, package[start : start + _SEGMENT]))
    return b"".join(pieces)[: struct.unpack("<Q", package[:_SIZE])[0]]


def _decrypted(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-CBC without padding; what is left of a block is none of it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data[: len(data) // 16 * 16]) + decryptor.finalize()
