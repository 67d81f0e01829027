"""Whether the lexical index on disk is what tantivy wrote: its files end in a footer with a CRC-32 of the rest.

Format: tantivy, src/directory/footer.rs: body, JSON {"version", "crc"}, its length and a magic number as 32-bit
little-endian integers.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

from core.errors import CatalogError
from retrieval.catalog import Catalog

_PARTS = {".term", ".idx", ".pos", ".store", ".fast", ".fieldnorm"}
_END = struct.Struct("<II")
_MAGIC = 1337
_LONGEST_FOOTER = 4096
_BLOCK = 1 << 20


def problems(folder: Path, catalog: Catalog) -> list[str]:
    """What is wrong with the index in a folder, in words; empty when all is well. Nothing is written."""
    try:
        meta, state = (json.loads((folder / name).read_text("utf-8")) for name in ("meta.json", "ragstone.json"))
        segments = [(str(row["segment_id"]).replace("-", ""), _living(row)) for row in meta["segments"]]
        generation, unfinished = int(state["generation"]), meta["opstamp"] != state["opstamp"]
    except FileNotFoundError as error:
        return [f"lexical/{Path(error.filename).name} is missing"]
    except OSError as error:
        raise CatalogError(f"{str(folder)!r} could not be read: {error.strerror}", "check the disk") from error
    except (ValueError, KeyError, TypeError):
        return ["lexical/ is damaged: its own records cannot be read"]
    found: list[str] = []
    for name, _ in segments:
        files = sorted(folder.glob(f"{name}.*"))
        missing = sorted(_PARTS - {file.suffix for file in files})
        found += [f"lexical/{name}{suffix} is missing" for suffix in missing]
        found += [f"lexical/{file.name} does not match its checksum" for file in files if not _whole(file)]
    if generation < int(catalog.meta("log_starts", "0")):
        found.append("lexical/ is too far behind the catalog to be caught up")
    elif not unfinished and not found:
        found += _miscounted(sum(count for _, count in segments), generation, catalog)
    return found


def _miscounted(held: int, generation: int, catalog: Catalog) -> list[str]:
    """Chunks that were removed later are still held; only of those that came later too it is not known."""
    due = catalog.chunks_until(generation)
    if due <= held <= due + len(catalog.removed_since(generation)):
        return []
    return [f"lexical/ holds {held} chunks, the catalog {due}"]


def _living(row: dict[str, Any]) -> int:
    return int(row["max_doc"]) - int((row["deletes"] or {}).get("num_deleted_docs", 0))


def _whole(file: Path) -> bool:
    """Whether a file matches the checksum in its footer."""
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(size - _END.size, 0))
            length, magic = _END.unpack(handle.read(_END.size))
            body = size - _END.size - length
            if magic != _MAGIC or length > _LONGEST_FOOTER or body < 0:
                return False
            handle.seek(body)
            crc = json.loads(handle.read(length))["crc"]
            handle.seek(0)
            found = 0
            while body > 0 and (block := handle.read(min(body, _BLOCK))):
                found = zlib.crc32(block, found)
                body -= len(block)
    except (struct.error, ValueError, KeyError, TypeError):
        return False
    except OSError as error:
        raise CatalogError(f"{str(file)!r} could not be read: {error.strerror}", "check the disk") from error
    return found == crc
