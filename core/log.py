"""Logging, set up by entry points only: one line a stage, never the text of a document or a prompt."""

import logging


def setup(level: str) -> None:
    """Send log lines at `level` and above to stderr."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("httpx", "httpcore", "openai", "urllib3", "filelock", "asyncio", "botocore", "aiobotocore", "s3fs"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    # At its import, which sentence-transformers brings about, it misses a faster kernel for 4-bit weights.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
