"""The forms of OpenAI's embeddings, and of the rerank requests that vLLM, Jina and Cohere share: what they may say."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

_TEXTS = 2048  # OpenAI's
_DOCUMENTS = 1000
_CHARACTERS = 500_000  # of all texts of a request
_QUESTION = 4000  # characters, as of a search
_QUERY = ("query", "search_query")
_Text = Annotated[str, StringConstraints(strict=True)]


class EmbeddingRequest(BaseModel):
    """Texts whose vectors are asked for; a field that is not here is refused."""

    model_config = ConfigDict(extra="forbid")
    model: str
    input: list[_Text] = Field(min_length=1, max_length=_TEXTS)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "search_query", "passage", "document", "search_document"] = "passage"
    truncate: bool = False
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        if isinstance(given, str):
            return [given]
        if isinstance(given, list) and given and not isinstance(given[0], str):
            raise ValueError(
                "text, or a list of texts; tokens are not read (langchain: check_embedding_ctx_length=False)"
            )
        return given

    @field_validator("input")
    @classmethod
    def _some(cls, texts: list[str]) -> list[str]:
        if empty := [n for n, text in enumerate(texts) if not text.strip()]:
            raise ValueError(f"text {empty[0]} is empty")
        return _bounded(texts)

    @property
    def is_query(self) -> bool:
        """Whether the texts are questions; else they are passages."""
        return self.input_type in _QUERY


class RerankRequest(BaseModel):
    """A question, and documents to be put in order by how well they answer it; a field that is not here is refused."""

    model_config = ConfigDict(extra="forbid")
    model: str
    query: str = Field(max_length=_QUESTION)
    documents: list[_Text] = Field(min_length=1, max_length=_DOCUMENTS)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = True
    user: str | None = None

    @field_validator("documents", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        return [_text(document) for document in given] if isinstance(given, list) else given

    @model_validator(mode="after")
    def _some(self) -> "RerankRequest":
        if not self.query.strip():
            raise ValueError("the query is empty")
        _bounded(self.documents)
        return self


def _text(document: Any) -> Any:
    match document:
        case {"text": str(text)} if len(document) == 1:
            return text
    return document


def _bounded(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) > _CHARACTERS:
        raise ValueError(f"more than {_CHARACTERS} characters in one request: send fewer texts at a time")
    return texts
