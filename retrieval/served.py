"""Vectors from a server of the embedder (vLLM's `--runner pooling`, and others with OpenAI's /embeddings).

Such a server knows neither the prompts of a sentence-transformers folder nor how long a text its model was trained for:
texts come here with their prompt, and cut. https://platform.openai.com/docs/api-reference/embeddings
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import ModelError
from core.once import once
from core.types import F32

if TYPE_CHECKING:
    import httpx

_TIMEOUT_S = 120.0  # of one request
_LEAST_NORM = 1e-6


class Served:
    """The embedder at an address; safe to use from many threads.

    Raises `ModelError` where nothing answers there, or something that is no vectors.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def vectors(self, texts: Sequence[str]) -> F32:
        """Unit vectors of texts, (n, dimension) float32, each a row."""
        body = {"model": self._name, "input": list(texts), "encoding_format": "float"}
        told = self._asked("POST", "/embeddings", body)
        try:
            rows = sorted(told["data"], key=lambda row: row["index"])
            if [row["index"] for row in rows] != list(range(len(texts))):
                raise ValueError(f"{len(texts)} texts were sent, {len(rows)} vectors came")
            found = np.array([row["embedding"] for row in rows], np.float32)
            norms = np.linalg.norm(found, axis=1, keepdims=True)
            if found.ndim != 2 or not np.isfinite(norms).all() or norms.min() < _LEAST_NORM:
                raise ValueError("a vector is empty, or no number")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{self.url} sent something that is no vectors ({error})"[:300],
                "retrieval.embed_url must be the address of an embedding server, such as http://127.0.0.1:8001/v1",
            ) from None
        return found / norms

    @once
    def _name(self) -> str:
        told = self._asked("GET", "/models", None)
        try:
            return str(told["data"][0]["id"])
        except (KeyError, TypeError, IndexError):
            raise ModelError(
                f"{self.url} answered, but not with a list of models",
                "retrieval.embed_url must be the address of an embedding server, such as http://127.0.0.1:8001/v1",
            ) from None

    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        import httpx

        try:
            response = self._client.request(method, self.url + path, json=body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            said = error.response.text[:300]
            raise ModelError(
                f"{self.url} answered HTTP {error.response.status_code}: {said}", "see the server's log", retryable=True
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ModelError(
                f"no embedding server answers at {self.url} ({str(error) or type(error).__name__})",
                "start it, or correct retrieval.embed_url",
                retryable=True,
            ) from None

    @once
    def _client(self) -> "httpx.Client":
        """Speaks with the configured address only: no proxy of the environment, no redirect."""
        import httpx

        return httpx.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)
