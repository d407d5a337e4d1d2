"""Search: a query in words, and the passages of several domains that answer it, best first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Yard
from modelyard.core.progress import Progress, Silent
from modelyard.retrieval.domains import (
    Domain,
    choose_domains,
    default_search_rules,
    load_domains,
)
from modelyard.retrieval.encoding import TextEncoder
from modelyard.retrieval.index import IndexedPassage, IndexMissing
from modelyard.retrieval.links import Related, Shown, find_related
from modelyard.retrieval.opened import OpenedIndex, Snapshot, Source
from modelyard.retrieval.query import Query, glob_pattern, stands_in, understand
from modelyard.retrieval.ranking import Floats, Ranked, Rows, ideal_score, manner_of, rank
from modelyard.retrieval.snippets import Snippet, cut_snippet
from modelyard.retrieval.words import find_words

RANKED_BELOW = 0.7
"""What counts of the score of a passage that `rank_below` names."""
NAMED_FILE = 0.25
"""What a passage gains when the query names its file."""
RARE_SHARE = 0.01
"""A name that stands in more of the passages tells little; the words do not weigh more for it."""
_RARE_AT_LEAST = 10
_TWINS = 50
"""Candidates beyond those shown, for texts that stand in several places."""

Mask = npt.NDArray[np.bool_]
OpenEncoder = Callable[[Yard, Encoder], TextEncoder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Why a result stands where it stands: final = (mixed) x and + its boosts."""

    dense: float
    """Cosine of query and passage, after feedback."""
    words: float
    """BM25."""
    ideal: float
    """BM25 of an ideal passage; the words count as their share of it."""
    dense_weight: float
    """The share of the dense side in the mix."""
    fused: float
    """dense_weight x dense + (1 - dense_weight) x words / ideal."""
    boosts: Mapping[str, float] = field(default_factory=dict)
    """What changed it: `rank_below` and `recency` multiply, `named_file` is added."""
    final: float
    """What it is ranked by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One passage that was found."""

    domain: str
    """GROUP/NAME of its domain."""
    passage: IndexedPassage
    """What was found: file, lines, title, text."""
    snippet: Snippet
    """Its lines that say most about the query."""
    scores: Scores
    """Why it stands where it stands."""
    also: tuple[str, ...] = ()
    """Where the same text stands as well, as PATH:LINE."""
    related: tuple[Related, ...] = ()
    """Passages of other domains that belong to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How one domain was asked."""

    domain: str
    """GROUP/NAME."""
    passages: int
    """How many its index has."""
    snapshot: str
    """Which state of the index answered."""
    dense_weight: float
    """The share of the dense side."""
    because: str
    """Why it is that."""
    allowed: int
    """Passages that filters and quoted phrases let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults:
    """What a search found, and how it went about it."""

    query: Query
    """How the query was understood."""
    results: tuple[Result, ...]
    """The best, best first."""
    asked: tuple[Asked, ...]
    """The domains that answered."""
    notes: tuple[str, ...] = ()
    """What a person should know: domains without an index, other encoders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A candidate of one domain."""

    domain: Domain
    snapshot: Snapshot
    row: int
    source: Source
    scores: Scores


class Searcher:
    """Searches one yard again and again; what was loaded stays in memory while it is current."""

    def __init__(
        self,
        yard: Yard,
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        open_encoder: OpenEncoder | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._yard = yard
        self._domains = load_domains(yard, environment)
        self._rules = default_search_rules(yard, environment)
        self._progress = progress or Silent()
        self._open_encoder = open_encoder or self._open_settled_encoder
        self._encoders: dict[Encoder, TextEncoder] = {}
        self._indexes: dict[str, OpenedIndex] = {}

    def search(
        self,
        text: str,
        *,
        domains: Sequence[str] = (),
        top: int | None = None,
        filters: Mapping[str, str] | None = None,
        related: bool = True,
    ) -> SearchResults:
        """The best passages of these domains (default: of the groups that the config names).

        filters: `path` (a glob), `kind`, `domain`, or any fact of a passage; all must hold.
        Raises InvalidInput for a query without a word, and NoData when no domain has an index.
        """
        query = understand(text)
        if not query.text:
            raise InvalidInput("the query is empty", hint='say what to look for: "roll back"')
        chosen = choose_domains(
            self._domains, domains, groups=self._rules.groups if self._rules else ()
        )
        self._refuse_reranker()
        with ExitStack() as stack:
            notes: list[str] = []
            top = top or (self._rules.top if self._rules else 10)
            opened = self._open(chosen, query, stack, notes)
            found: list[_Found] = []
            asked: list[Asked] = []
            for domain, snapshot, vector in opened:
                one, candidates = self._ask(domain, snapshot, query, vector, filters or {}, top)
                asked.append(one)
                found += candidates
            best = _best(found, top)
            others = [(domain.label, snapshot) for domain, snapshot, _ in opened]
            results = _show(query, best, others if related else [])
        return SearchResults(query=query, results=results, asked=tuple(asked), notes=tuple(notes))

    def close(self) -> None:
        for index in self._indexes.values():
            index.close()

    def _refuse_reranker(self) -> None:
        if self._rules and self._rules.reranker:
            raise InvalidInput(
                f"`search.reranker` names {self._rules.reranker}, and this version cannot order "
                "results by a cross-encoder yet",
                where="configs/embedding_models",
                hint="take `reranker` out of the config",
            )

    def _open(
        self, chosen: Sequence[Domain], query: Query, stack: ExitStack, notes: list[str]
    ) -> list[tuple[Domain, Snapshot, Floats | None]]:
        """The domains that have an index, each with the query's vector for its encoder."""
        there = [domain for domain in chosen if domain.index.is_file()]
        missing = [domain.label for domain in chosen if domain not in there]
        if not there:
            raise NoData(
                f"no index yet: {', '.join(missing) or 'no search domain is declared'}",
                hint="make them with `models update-embeddings`",
            )
        if missing:
            notes.append(f"not searched, no index yet: {', '.join(missing)}")
        vectors: dict[Encoder, Floats] = {}
        for domain in there:
            if domain.encoder not in vectors:
                vectors[domain.encoder] = self._encode(domain, query)
        opened: list[tuple[Domain, Snapshot, Floats | None]] = []
        for domain in there:
            index = self._indexes.setdefault(domain.label, OpenedIndex(domain.index))
            try:
                snapshot = stack.enter_context(index.reading())
            except IndexMissing:
                notes.append(f"not searched, its index is gone: {domain.label}")
                continue
            vector: Floats | None = vectors[domain.encoder]
            if self._fingerprint(domain) != snapshot.meta.encoder:
                notes.append(
                    f"{domain.label} was searched by words only: its index was made by another "
                    "encoder (`models update-embeddings` makes it anew)"
                )
                vector = None
            opened.append((domain, snapshot, vector))
        return opened

    def _encode(self, domain: Domain, query: Query) -> Floats:
        if domain.encoder not in self._encoders:
            self._encoders[domain.encoder] = self._open_encoder(self._yard, domain.encoder)
        return self._encoders[domain.encoder].encode_query(query.text)

    def _fingerprint(self, domain: Domain) -> str:
        return self._encoders[domain.encoder].fingerprint

    def _open_settled_encoder(self, yard: Yard, settings: Encoder) -> TextEncoder:
        from modelyard.retrieval.encoding import open_encoder

        return open_encoder(yard, settings, for_bulk=False, progress=self._progress)

    def _ask(
        self,
        domain: Domain,
        snapshot: Snapshot,
        query: Query,
        vector: Floats | None,
        filters: Mapping[str, str],
        top: int,
    ) -> tuple[Asked, list[_Found]]:
        """The candidates of one domain, with their boosts."""
        named_files, known_names = _known_names(query, snapshot)
        weight, because = _dense_weight(domain, vector, known_names)
        allowed = _allowed(domain, snapshot, query, filters)
        manner = manner_of(domain.settings.chunker)
        terms = query.terms
        bm25 = snapshot.postings.bm25(terms, manner.title_weight)
        ideal = ideal_score([snapshot.postings.idf(term) for term in terms])
        ranked = rank(
            vector if vector is not None else np.zeros(snapshot.meta.dimensions, np.float32),
            snapshot.vectors,
            bm25,
            ideal,
            dense_weight=weight,
            manner=manner,
            depth=self._rules.candidates if self._rules else 100,
            allowed=allowed,
            named=named_files,
        )
        settings = domain.settings
        if named_files is None and not (settings.rank_below or settings.recency_half_life_s):
            ranked = ranked.best(top + _TWINS)  # their order stays
        asked = Asked(
            domain=domain.label,
            passages=len(snapshot),
            snapshot=snapshot.meta.version,
            dense_weight=weight,
            because=because,
            allowed=len(snapshot) if allowed is None else int(allowed.sum()),
        )
        return asked, _boost(domain, snapshot, ranked, weight, ideal, named_files)


def search(
    yard: Yard,
    text: str,
    *,
    domains: Sequence[str] = (),
    top: int | None = None,
    filters: Mapping[str, str] | None = None,
    environment: str = DEFAULT_ENVIRONMENT,
    progress: Progress | None = None,
) -> SearchResults:
    """One search; `Searcher` says what it does and raises, and is faster the second time."""
    searcher = Searcher(yard, environment=environment, progress=progress)
    try:
        return searcher.search(text, domains=domains, top=top, filters=filters)
    finally:
        searcher.close()


def _known_names(query: Query, snapshot: Snapshot) -> tuple[Rows | None, list[str]]:
    """The passages of files that the query names, and which of its names this index knows."""
    if not query.names:
        return None, []
    named: list[str] = []
    known: list[str] = []
    rare = max(_RARE_AT_LEAST, RARE_SHARE * len(snapshot))
    for name in query.names:
        fitting = snapshot.paths_called(name)
        named += fitting
        terms = [has[-1] for _, _, has in find_words(name) if has]
        stands = len(snapshot.postings.rows_with_all(terms)) if terms else 0
        if fitting or 0 < stands <= rare:
            known.append(name)
    return (snapshot.rows_of_paths(named) if named else None), known


def _dense_weight(
    domain: Domain, vector: Floats | None, known_names: Sequence[str]
) -> tuple[float, str]:
    if vector is None:
        return 0.0, "words only"
    if known_names:
        return domain.fusion.exact_dense, f"it knows {', '.join(known_names)}"
    return domain.fusion.dense, "a question in words"


def _allowed(
    domain: Domain, snapshot: Snapshot, query: Query, filters: Mapping[str, str]
) -> Mask | None:
    """What filters and quoted phrases let through: bool [n]; None where that is everything."""
    masks = [_mask(snapshot, _rows_of_filter(domain, snapshot, *one)) for one in filters.items()]
    masks += [_mask(snapshot, _rows_of_phrase(snapshot, phrase)) for phrase in query.phrases]
    if not masks:
        return None
    allowed: Mask = np.logical_and.reduce(masks)
    return allowed


def _mask(snapshot: Snapshot, rows: Rows) -> Mask:
    mask = np.zeros(len(snapshot), np.bool_)
    mask[rows] = True
    return mask


def _rows_of_filter(domain: Domain, snapshot: Snapshot, key: str, value: str) -> Rows:
    if key == "path":
        pattern = glob_pattern(value)
        return snapshot.rows_of_paths([path for path in snapshot.paths() if pattern.match(path)])
    if key == "kind":
        return snapshot.rows_of_kind(value)
    if key == "domain":
        fits = value in (domain.name, domain.label)
        return np.arange(len(snapshot) if fits else 0)
    return snapshot.rows_with_fact(key, value)


def _rows_of_phrase(snapshot: Snapshot, phrase: str) -> Rows:
    """The passages in which a quoted phrase stands."""
    terms = list(dict.fromkeys(term for _, _, has in find_words(phrase) for term in has[-1:]))
    if not terms:
        return snapshot.rows_that_say(phrase)
    rows = snapshot.postings.rows_with_all(terms)
    texts = snapshot.passages(rows)
    pairs = zip(rows, texts, strict=True)
    return np.array(
        [row for row, one in pairs if stands_in(phrase, f"{one.title}\n{one.text}")], np.int64
    )


def _boost(
    domain: Domain,
    snapshot: Snapshot,
    ranked: Ranked,
    weight: float,
    ideal: float,
    named: Rows | None,
) -> list[_Found]:
    sources = snapshot.sources(ranked.rows)
    below = [glob_pattern(glob) for glob in domain.settings.rank_below]
    half_life_s = domain.settings.recency_half_life_s
    in_named_file = frozenset(named.tolist()) if named is not None else frozenset()
    now = datetime.now(UTC)
    found = []
    columns = (ranked.rows, ranked.dense, ranked.words, ranked.fused)
    for row, dense, words, fused in zip(*(column.tolist() for column in columns), strict=True):
        source = sources[row]
        boosts: dict[str, float] = {}
        if any(pattern.match(source.path) for pattern in below):
            boosts["rank_below"] = RANKED_BELOW
        if half_life_s:
            boosts["recency"] = _recency(source, now, half_life_s)
        factor = boosts.get("rank_below", 1.0) * boosts.get("recency", 1.0)
        if row in in_named_file:
            boosts["named_file"] = NAMED_FILE
        scores = Scores(
            dense=dense,
            words=words,
            ideal=ideal,
            dense_weight=weight,
            fused=fused,
            boosts=boosts,
            final=(fused * factor if fused > 0 else fused) + boosts.get("named_file", 0.0),
        )
        found.append(
            _Found(domain=domain, snapshot=snapshot, row=row, source=source, scores=scores)
        )
    return found


def _recency(source: Source, now: datetime, half_life_s: float) -> float:
    """How much a passage counts for its age: 1 now, a half after `half_life_s`."""
    for written in (source.last_seen, source.modified_at):
        try:
            at = datetime.fromisoformat(written or "")
        except ValueError:
            continue
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return float(0.5 ** (max(0.0, (now - at).total_seconds()) / half_life_s))
    return 1.0


def _best(found: Sequence[_Found], top: int) -> list[tuple[_Found, list[_Found]]]:
    """The best of all domains, each text once, with where else the same text stands."""
    ordered = sorted(found, key=lambda one: (-one.scores.final, one.domain.label, one.row))
    best: dict[str, tuple[_Found, list[_Found]]] = {}
    for one in ordered:
        known = best.get(one.source.digest)
        if known is not None:
            known[1].append(one)
        elif len(best) < top:
            best[one.source.digest] = (one, [])
    return list(best.values())


def _show(
    query: Query,
    best: Sequence[tuple[_Found, list[_Found]]],
    others: Sequence[tuple[str, Snapshot]],
) -> tuple[Result, ...]:
    results = []
    for one, same in best:
        passage = one.snapshot.passages(np.array([one.row]))[0]
        places = {
            f"{other.path}:{other.first_line}"
            for twin in same
            for other in twin.snapshot.passages(np.array([twin.row]))
        }
        here = f"{passage.path}:{passage.first_line}"
        shown = Shown(domain=one.domain.label, passage=passage, snapshot=one.snapshot, row=one.row)
        results.append(
            Result(
                domain=one.domain.label,
                passage=passage,
                snippet=cut_snippet(passage.text, query.terms, first_line=passage.first_line),
                scores=one.scores,
                also=tuple(sorted(places - {here})),
                related=find_related(shown, others),
            )
        )
    return tuple(results)
