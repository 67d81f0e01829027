"""Small knowledge bases for tests, written through the same recipe that folders go through."""

from collections.abc import Mapping
from pathlib import Path

from app.keeping.index import chunker, write_documents
from core.config import Config
from core.types import Document, Section
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.index import Index

DOCUMENTS = {
    "leave.md": "Annual leave is 25 days. Sick leave needs a certificate after three days.",
    "travel.md": "Travel costs are reimbursed within 30 days. Hotels up to 180 euros a night.",
    "vpn.md": "Connect to vpn.lanting.example on port 8443. Error E-4102 means the token has expired.",
    "nianjia.md": "年假每年二十五天。病假超过三天需要证明。",
    "baoxiao.md": "差旅费在三十天内报销，住宿标准为每晚一百八十欧元。第十二条 发票必须是原件。",
}


def build(cfg: Config, embedder: Embedder, documents: Mapping[str, str] = DOCUMENTS, kb: str = "kb") -> Index:
    """An index over (name, text) documents; a name's stem is its title."""
    index = Index.open_or_create(Path(cfg.app.data), kb, embedder, chunker(cfg.ingest))
    rows = ((name, Document(text, Path(name).stem, (Section(0, len(text)),))) for name, text in documents.items())
    write_documents(index, rows, cfg.ingest)
    return index


def in_files(index: Index) -> Catalog:
    """The catalog of an index that is kept in files, as tantivy and FAISS are filled from it."""
    assert isinstance(index.catalog, Catalog)
    return index.catalog
