"""What is searched for a request, and what the model gets of it."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from answer_samples import RETRIEVAL, make_chunk, make_effective, make_request
from index_projects import Docs, make_docs
from modelyard.answering.prompt import count_tokens, quote_chunk
from modelyard.answering.request import NothingFound, Request
from modelyard.answering.retrieving import Retrieved, mark_named, retrieve
from modelyard.chatdata.conversation import Message
from modelyard.configs.kinds.embedding_models import Encoder
from modelyard.core.progress import Silent
from modelyard.deployments.effective_settings import EffectiveRetrieval
from modelyard.encoders import Encoders
from modelyard.retrieval.search import Searcher

CONFIG = """
description: For tests
encoder: {source: path, model: toy, dimensions: 64, max_tokens: 256}
domains:
  docs:
    description: Documents
    sources: ["docs/**/*.md"]
    chunker: markdown
    chunk_tokens: 40
"""
PAGE = """# Adapters

## Roll back

To roll back an adapter, run `models adapters rollback NAME`. The link moves in one rename.

## Promote

An adapter is promoted when the gate is met.
"""
LONG = "# Adapters of old\n\n" + "\n\n".join(f"An adapter of year {year}." for year in range(9))

Ask = Callable[..., Retrieved]


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    place = tmp_path / "project"
    found = make_docs(place)
    config = place / "configs" / "embedding_models" / "texts.yaml"
    config.parent.mkdir()
    config.write_text(CONFIG)
    found.write("adapters.md", PAGE)
    return found


@pytest.fixture
def ask(docs: Docs) -> Iterator[Ask]:
    with closing(Searcher(docs.project, encoders=docs.encoders)) as searcher:  # type: ignore[arg-type]

        def run(
            question: str,
            retrieval: EffectiveRetrieval | None = RETRIEVAL,
            *,
            local_only: bool = False,
        ) -> Retrieved:
            effective = make_effective(retrieval=retrieval, local_only=local_only)
            return retrieve(searcher, effective, make_request(question), count_tokens)

        yield run


def test_the_best_chunks_come_numbered_with_their_places(docs: Docs, ask: Ask) -> None:
    docs.update()
    found = ask("How do I roll back an adapter?")
    assert [chunk.number for chunk in found.chunks] == list(range(1, len(found.chunks) + 1))
    best = found.chunks[0]
    assert (best.index, best.place, best.is_named) == ("texts/docs", "docs/adapters.md:3", False)
    assert "models adapters rollback" in best.text
    assert found.notes == ()


def test_a_domain_that_retrieves_nothing_is_not_searched(docs: Docs, ask: Ask) -> None:
    assert ask("How?", None) == Retrieved()


def test_a_short_question_that_goes_on_is_searched_with_the_one_before(docs: Docs) -> None:
    docs.update()
    turns = (
        Message("user", "How do I roll back an adapter?"),
        Message("assistant", "With a command."),
        Message("user", "And which?"),
    )
    effective = make_effective(retrieval=replace(RETRIEVAL, least_similarity=0.4))
    with closing(Searcher(docs.project, encoders=docs.encoders)) as searcher:  # type: ignore[arg-type]
        alone = retrieve(searcher, effective, Request(messages=turns[2:]), count_tokens)
        together = retrieve(searcher, effective, Request(messages=turns), count_tokens)
    assert alone.chunks == ()
    assert "models adapters rollback" in together.chunks[0].text


def test_chunks_keep_to_their_tokens_together(docs: Docs, ask: Ask) -> None:
    docs.update()
    whole = ask("adapter").chunks
    assert len(whole) == 2
    both = sum(count_tokens(quote_chunk(chunk)) for chunk in whole)
    assert len(ask("adapter", replace(RETRIEVAL, max_tokens=both)).chunks) == 2
    one = ask("adapter", replace(RETRIEVAL, max_tokens=both - 1)).chunks
    assert len(one) == 1
    assert one[0].text in [chunk.text for chunk in whole]


def test_where_no_chunk_fits_the_best_is_cut_at_a_line(docs: Docs, ask: Ask) -> None:
    docs.write("adapters.md", LONG)
    docs.update()
    (cut,) = ask("adapter of year 3", replace(RETRIEVAL, max_tokens=90)).chunks
    assert count_tokens(quote_chunk(cut)) <= 90
    assert cut.text.split("\n")[0].startswith("An adapter of year")
    assert ask("adapter", replace(RETRIEVAL, max_tokens=5)).chunks == ()


def test_a_search_that_fails_is_a_note_and_no_failure(ask: Ask) -> None:
    found = ask("How?")
    assert found.chunks == ()
    (note,) = found.notes
    assert "no index yet" in note
    assert "models update-embeddings" in note


def test_a_grounded_domain_has_no_answer_where_nothing_is_found(docs: Docs, ask: Ask) -> None:
    required = replace(RETRIEVAL, required=True)
    with pytest.raises(NothingFound, match="nothing was found") as refused:
        ask("How?", required)
    assert "no index yet" in (refused.value.hint or "")
    docs.update()
    assert ask("How do I roll back?", required).chunks
    with pytest.raises(NothingFound):
        ask('How do I roll back "the planet Mars"?', required)


def test_chunks_that_are_less_similar_than_demanded_are_left_out(docs: Docs, ask: Ask) -> None:
    docs.update()
    question = "roll back an adapter"
    assert len(ask(question, replace(RETRIEVAL, least_similarity=0.0)).chunks) == 2
    (chunk,) = ask(question, replace(RETRIEVAL, least_similarity=0.5)).chunks
    assert "models adapters rollback" in chunk.text
    with pytest.raises(NothingFound):
        ask("zebras", replace(RETRIEVAL, least_similarity=0.5, required=True))


class FarEncoders(Encoders):
    """The real ones, which must not open anything."""

    def open(self, settings: Encoder, *, texts: int = 0) -> object:  # type: ignore[override]
        raise AssertionError(f"{settings.model} was opened")


def searcher_with(docs: Docs, encoder: str, encoders: Encoders) -> Searcher:
    """Searches the documents, whose index an encoder of these settings is said to have made."""
    config = docs.project.configs / "embedding_models" / "texts.yaml"
    config.write_text(CONFIG.replace(CONFIG.split("encoder: ")[1].split("\n")[0], encoder))
    docs.update()
    searcher = Searcher(docs.project, encoders=encoders)
    (index,) = searcher._indexes.values()
    docs.index.path.rename(index.path)  # these settings have a file of their own
    return searcher


@pytest.mark.parametrize(
    "encoder",
    [
        "{source: endpoint, model: far, endpoint: https://example.com/v1, dimensions: 64, "
        "max_tokens: 256, price_per_million: $0}",
        "{source: endpoint, model: near, endpoint: http://127.0.0.1:9/v1, dimensions: 64, "
        "max_tokens: 256, price_per_million: $0}",
        "{source: hub, model: nobody/nothing, dimensions: 64, max_tokens: 256}",
    ],
)
def test_of_a_local_only_domain_no_byte_goes_to_an_encoder_elsewhere(
    docs: Docs, encoder: str
) -> None:
    encoders = FarEncoders(project=docs.project, progress=Silent())
    with closing(searcher_with(docs, encoder, encoders)) as searcher:
        effective = make_effective(retrieval=RETRIEVAL, local_only=True)
        found = retrieve(searcher, effective, make_request("roll back"), count_tokens)
        assert "rollback" in found.chunks[0].text
        assert ["terms only: this domain is local_only" in note for note in found.notes] == [True]
        with pytest.raises(AssertionError, match="was opened"):
            searcher.search("roll back")


def test_an_encoder_that_does_not_answer_in_time_leaves_the_terms_to_search(docs: Docs) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        encoder = (
            f"{{source: endpoint, model: far, endpoint: '{address}', dimensions: 64, "
            "max_tokens: 256, price_per_million: $0}"
        )
        encoders = Encoders(project=docs.project, progress=Silent())
        with closing(searcher_with(docs, encoder, encoders)) as searcher:
            request = make_request("roll back")
            effective = make_effective(
                retrieval=replace(RETRIEVAL, least_similarity=0.9, required=True)
            )
            found = retrieve(searcher, effective, request, count_tokens, within_s=0.1)
    assert "rollback" in found.chunks[0].text
    (note,) = found.notes
    assert "terms only" in note
    assert "does not answer" in note


def test_an_endpoint_on_this_machine_that_stays_here_is_local() -> None:
    near = Encoder(
        source="endpoint",
        model="m",
        dimensions=4,
        max_tokens=99,
        endpoint="http://[::1]:80/v1",
        stays_local=True,
    )
    assert not near.needs_network
    assert not replace(near, endpoint="http://localhost/v1").needs_network
    for far in ("http://127.0.0.1.example.com/v1", "http://10.0.0.1/v1", "http://[oops/v1"):
        assert replace(near, endpoint=far).needs_network
    assert replace(near, stays_local=False).needs_network


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("It is [1].", [1]),
        ("So it is [1, 3], says [2].", [1, 2, 3]),
        ("So it is[1][3].", [1, 3]),
        ("Call `rows[1]`, or\n```\nrows[2]\n```", []),
        ("```\nrows[2]", []),
        ("See docs/page2.md:2.", [2]),
        ("See docs/page2.md:21 or other/docs/page2.md:2.", []),
        ("[7] [12345]", []),
        ("", []),
    ],
)
def test_the_chunks_that_an_answer_names_are_marked(answer: str, named: list[int]) -> None:
    chunks = mark_named([make_chunk(number, "text") for number in (1, 2, 3)], answer)
    assert [chunk.number for chunk in chunks if chunk.is_named] == named


def test_a_proxy_never_gets_what_is_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelyard.core.layout import Project
    from modelyard.encoders.endpoint_encoder import EndpointEncoder

    monkeypatch.setenv("http_proxy", "http://203.0.113.1:3128")
    settings = Encoder(
        source="endpoint", model="m", dimensions=4, max_tokens=99, endpoint="http://127.0.0.1/v1"
    )
    for endpoint, count in (("http://127.0.0.1/v1", 0), ("http://example.com/v1", 1)):
        opener = EndpointEncoder(
            Project(tmp_path), replace(settings, endpoint=endpoint), fingerprint="f"
        )._opener
        proxies = [
            handler.proxies.get("http")  # type: ignore[attr-defined]
            for handler in opener.handlers
            if isinstance(handler, urllib.request.ProxyHandler)
        ]
        assert len([proxy for proxy in proxies if proxy]) == count
