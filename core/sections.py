"""The sections of config.toml, each key with its type, its limits and its default (config.toml says what each means).

Sections mirror the folders, but for `oidc` and `ldap`, whence accounts may come; a function takes its own section,
never the whole. `core/config.py` reads them.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from core.places import is_safe


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AppConfig(_Section):
    """Where things live and what the surfaces listen on."""

    data: str = "data"
    database: str = ""
    kb: str = "default"
    keep_generations: Annotated[int, Field(ge=0, le=100)] = 1
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 7860
    users: Literal["auto", "on"] = "auto"
    hosts: list[str] = []
    root_path: str = ""
    session_hours: Annotated[float, Field(gt=0.0, le=8760.0)] = 168.0
    answers_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 120
    answers_at_once: Annotated[int, Field(ge=0, le=10_000)] = 16
    max_upload_mb: Annotated[int, Field(ge=1)] = 100
    pending_uploads_mb: Annotated[int, Field(ge=1)] = 1000
    chat_files_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 200
    chat_files_role: Literal["reader", "editor", "admin"] = "editor"
    folders: list[str] = []
    web_pages: bool = False
    keep_unanswered: bool = False
    stale_months: Annotated[int, Field(ge=1, le=1200)] = 24
    log_level: Literal["debug", "info", "warning", "error"] = "warning"


class IngestConfig(_Section):
    """What is read from a folder and how it is cut into chunks."""

    include: list[str] = ["**/*"]
    exclude: list[str] = ["**/node_modules/**", "**/__pycache__/**", "**/~$*", "**/*.tmp"]
    hidden: bool = False
    follow_symlinks: bool = False
    max_file_mb: Annotated[int, Field(ge=1)] = 100
    unreadable: Literal["keep", "drop"] = "keep"
    rescan_minutes: Annotated[float, Field(gt=0.0, le=10080.0)] = 10.0
    web_every_s: Annotated[float, Field(ge=60.0, le=31_536_000.0)] = 86_400.0
    web_seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 30.0
    workers: str = ""
    workers_ca: str = ""
    workers_cert: str = ""
    workers_key: str = ""
    passwords: list[str] = []
    encodings: list[str] = []
    ocr: Literal["auto", "off"] = "auto"
    ocr_pages: Annotated[int, Field(ge=1)] = 1000
    archive_files: Annotated[int, Field(ge=0)] = 1000
    archive_mb: Annotated[int, Field(ge=1)] = 500
    archive_depth: Annotated[int, Field(ge=0, le=10)] = 2
    read_seconds: Annotated[float, Field(gt=0.0, le=86400.0)] = 120.0
    read_mb: Annotated[int, Field(ge=256)] = 2048
    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    chunk_overlap: Annotated[int, Field(ge=0, le=4096)] = 20
    readers: dict[str, str] = {}
    reader_settings: dict[str, dict[str, Any]] = {}
    chunker: str = ""
    chunker_settings: dict[str, Any] = {}
    _shared: tuple[str, ...] = ()

    @property
    def shared(self) -> tuple[str, ...]:
        """The folders of `app.folders`: a link in one of them leads to no place outside of them."""
        return self._shared

    def sharing(self, folders: Sequence[str]) -> "IngestConfig":
        """The same, where these are the folders of `app.folders`."""
        copy = self.model_copy()
        copy._shared = tuple(folders)
        return copy

    @field_validator("include", "exclude")
    @classmethod
    def _can_match(cls, globs: list[str], info: ValidationInfo) -> list[str]:
        for glob in globs:
            names = glob.split("/")
            if info.field_name == "exclude" and glob.endswith("/"):  # the folder itself
                names.pop()
            if "" in names or "." in names or ".." in names:
                raise ValueError(
                    f"{glob!r} matches nothing: a glob is compared with the path within the folder, such as it/vpn.md; "
                    'e.g. "it/**", "**/*.md"'
                )
        if info.field_name == "include" and not globs:
            raise ValueError('no file would be read; ["**/*"] reads all')
        return globs


class RetrievalConfig(_Section):
    """The embedder, and how passages are found, fused and packed."""

    embedder: str = "auto"
    embedder_settings: dict[str, Any] = {}
    revision: str = ""
    embed_url: str = ""
    query_prompt: str = ""
    passage_prompt: str = ""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    mode: Literal["dense", "lexical", "hybrid"] = "hybrid"
    k: Annotated[int, Field(ge=1, le=1000)] = 8
    candidates: Annotated[int, Field(ge=1, le=10000)] = 200
    exact_below: Annotated[int, Field(ge=0)] = 50_000
    fusion: Literal["convex", "rrf"] = "convex"
    rrf_k: Annotated[int, Field(ge=1, le=1000)] = 5
    dense_weight: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = "auto"
    variants: Annotated[int, Field(ge=0, le=10)] = 3
    variant_seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 6.0
    steps: Annotated[int, Field(ge=0, le=10)] = 0
    step_seconds: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0
    reranker: str = ""
    reranker_settings: dict[str, Any] = {}
    reranker_revision: str = ""
    rerank_url: str = ""
    rerank_key: str = ""
    rerank_top: Annotated[int, Field(ge=1, le=1000)] = 50
    diversity: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    per_document: Annotated[int, Field(ge=0, le=1000)] = 0
    prefer_newest: bool = True
    neighbours: Annotated[int, Field(ge=0, le=10)] = 1
    section_tokens: Annotated[int, Field(ge=0, le=100_000)] = 0
    context_tokens: Annotated[int, Field(ge=64, le=1_000_000)] = 3000
    min_relevance: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = "auto"


class LlmConfig(_Section):
    """Who writes the answers, and how vLLM is started."""

    backend: Literal["auto", "chat", "openai", "vllm", "extractive"] = "auto"
    chat: str = ""
    chat_settings: dict[str, Any] = {}
    base_url: str = ""
    base_urls: list[str] = []
    ports: list[str] = ["8000", "11434", "8080", "1234"]
    model: str = ""
    api_key: str = ""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] = 0
    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] = -1
    samples: Annotated[int, Field(ge=1, le=20)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=131072)] = 1024
    timeout_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 120.0
    vllm_model: str = ""
    vllm_name: str = ""
    vllm_env: str = ".vllm"
    vllm_build: Literal["auto", "gpu", "cpu"] = "auto"
    vllm_host: str = "127.0.0.1"
    vllm_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    vllm_max_model_len: Annotated[int, Field(ge=0)] = 0
    vllm_memory: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    vllm_cpu_kv_gb: Annotated[int, Field(ge=1, le=1024)] = 4
    vllm_start_timeout_s: Annotated[float, Field(gt=0.0, le=7200.0)] = 600.0
    vllm_args: list[str] = []
    vllm_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    vllm_restarts: Annotated[int, Field(ge=0, le=1000)] = 5
    vllm_silent_s: Annotated[float, Field(ge=0.0, le=86400.0)] = 180.0
    vllm_lora_rank: Annotated[int, Field(ge=0, le=512)] = 0
    adapters: str = ""
    adapter: str = ""
    ab_percent: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    ab_base_url: str = ""
    ab_model: str = ""
    compressor_env: str = ".compressor"
    converter_env: str = ".converter"

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, ports: list[str]) -> list[str]:
        for port in ports:
            if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
                raise ValueError(f'{port!r} is no port: give numbers from 1 to 65535 as strings, e.g. "11434"')
        return ports


class PromptsConfig(_Section):
    """Which prompt templates speak."""

    library: str = "prompts/library"
    promoted: bool = True
    answer: str = "answer"
    answer_version: Annotated[int, Field(ge=0)] = 1
    sources: Literal["question", "rules"] = "question"
    rewrite: str = "rewrite"
    rewrite_version: Annotated[int, Field(ge=0)] = 1
    variants: str = "variants"
    variants_version: Annotated[int, Field(ge=0)] = 1
    search_plan: str = "search-plan"
    search_plan_version: Annotated[int, Field(ge=0)] = 1
    search_next: str = "search-next"
    search_next_version: Annotated[int, Field(ge=0)] = 1
    judge: str = "judge"
    judge_version: Annotated[int, Field(ge=0)] = 1


class Rights(_Section):
    """What a group of a provider or a directory may: a role, and the knowledge bases that it sees; None: all."""

    role: Literal["reader", "editor", "admin"] = "reader"
    kbs: list[str] | None = None


def _mapped(groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for name, rights in groups.items():
        try:
            Rights.model_validate(rights)
        except ValidationError:
            form = '{ role = "reader", kbs = ["handbook"] }'
            raise ValueError(
                f"what the group {name!r} may is written {form}; the role is reader, editor or admin, and without kbs "
                "all knowledge bases are seen"
            ) from None
    return groups


# Of accounts that come from elsewhere, whoever vouches for them.
_Groups = Annotated[dict[str, dict[str, Any]], AfterValidator(_mapped)]
_SessionHours = Annotated[float, Field(gt=0.0, le=168.0)]
_KeyDays = Annotated[float, Field(gt=0.0, le=366.0)]


class OidcConfig(_Section):
    """Accounts that come from a provider of OpenID Connect."""

    issuer: str = ""
    client_id: str = ""
    client_secret: str = ""
    scopes: list[str] = ["openid", "profile"]
    label: str = ""
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    groups: _Groups = {}
    only: bool = False
    session_hours: _SessionHours = 12.0
    key_days: _KeyDays = 30.0

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, issuer: str) -> str:
        url = urlsplit(issuer)
        if issuer and not is_safe(issuer):
            raise ValueError("give the provider's issuer as it stands in its discovery document, an https:// address")
        if url.query or url.fragment or url.username:
            raise ValueError("an issuer has no query, no fragment and no name in it")
        return issuer


class LdapConfig(_Section):
    """Accounts that come from a directory."""

    url: str = ""
    tls: Literal["auto", "on", "off"] = "auto"
    ca_file: str = ""
    bind_dn: str = ""
    bind_password: str = ""
    base: str = ""
    filter: str = "(uid={name})"
    name_attribute: str = "uid"
    id_attribute: str = "entryUUID"
    group_attribute: str = "memberOf"
    group_base: str = ""
    group_filter: str = "(member={dn})"
    groups: _Groups = {}
    timeout_s: Annotated[float, Field(gt=0.0, le=120.0)] = 10.0
    session_hours: _SessionHours = 12.0
    key_days: _KeyDays = 30.0

    @field_validator("url")
    @classmethod
    def _is_directory(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and not (parts.scheme in ("ldap", "ldaps") and parts.hostname):
            raise ValueError("give the directory's address as ldaps://host, or ldap://host for StartTLS")
        return url

    @field_validator("filter")
    @classmethod
    def _asks_for_a_name(cls, filter_: str) -> str:
        if "{name}" not in filter_:
            raise ValueError('the filter has {name} where the name stands that was typed, e.g. "(uid={name})"')
        return filter_


class Config(_Section):
    """All sections; a function takes its own section, never the whole."""

    app: AppConfig = AppConfig()
    ingest: Annotated[IngestConfig, Field(validate_default=True)] = IngestConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    llm: LlmConfig = LlmConfig()
    prompts: PromptsConfig = PromptsConfig()
    oidc: OidcConfig = OidcConfig()
    ldap: LdapConfig = LdapConfig()

    @field_validator("ingest")
    @classmethod
    def _knows_what_is_shared(cls, ingest: IngestConfig, info: ValidationInfo) -> IngestConfig:
        return ingest.sharing(info.data["app"].folders) if "app" in info.data else ingest
