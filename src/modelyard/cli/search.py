"""`models search`: the chunks that answer a question, best first, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.cli.job_progress import LogProgress, showing_progress
from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import print_json, print_note
from modelyard.cli.stdin import read_piped
from modelyard.configs.kinds import DEFAULT_ENVIRONMENT
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import Project, find_project

if TYPE_CHECKING:
    from modelyard.retrieval.indexes import SearchSettings

_READ_BYTES = 10_000_000
_LONGEST_QUERY = 20_000
"""Characters of a query that is read from stdin."""


def search(
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="A question or names, or - for a text on stdin, such as a log. Quoted text must "
            "be in each result.",
        ),
    ] = None,
    indexes: Annotated[
        list[str] | None,
        typer.Option(
            "--domain",
            metavar="NAME",
            help="A search index, NAME or GROUP/NAME; may be given again. Default: those of the "
            "groups of configs/embedding_models/semantic_search.yaml. With --eval DIR: the one "
            "whose encoder is evaluated.",
        ),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option(
            "--in",
            metavar="PATH",
            help="Search this folder, git work tree or file instead, without a project or config. "
            "Its index is made first and kept in the cache.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", metavar="K", min=1, help="How many results.")
    ] = None,
    per_file: Annotated[
        int | None,
        typer.Option(
            "--per-file",
            metavar="N",
            min=1,
            help="Results of one file, at most. Default: one of code and two of prose, and more "
            "only where other files leave places.",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Only such chunks: path (a glob), kind, domain, or a fact such as language. "
            "All that are given must hold; a key that no chunk has is refused.",
        ),
    ] = None,
    modality: Annotated[
        Literal["text", "code", "image"] | None,
        typer.Option(
            "--modality",
            help="Only indexes that are for it, as the `modalities` of their group say.",
        ),
    ] = None,
    least_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            help="Only results with this score or a better one; exit code 5 when there is none.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit code 5 when nothing answers the query."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say how the query was understood, and each result's scores."
        ),
    ] = False,
    no_rerank: Annotated[
        bool,
        typer.Option(
            "--no-rerank",
            help="Leave the order as it is, where `search.reranker` names a cross-encoder.",
        ),
    ] = False,
    related: Annotated[
        str | None,
        typer.Option(
            "--related",
            metavar="FILE:LINE",
            help="Find what means nearly the same as the chunk at this place instead.",
        ),
    ] = None,
    evaluate: Annotated[
        list[Path] | None,
        typer.Option(
            "--eval",
            metavar="DIR|QUERIES",
            help="Evaluate the ranking instead: a folder in BEIR's layout (corpus.jsonl, "
            "queries.jsonl, qrels/), or queries for the project's own indexes; may be given "
            "again.",
        ),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="With --eval: try weights of meaning and words, each set with the weight that "
            "is best on the others. Writes nothing.",
        ),
    ] = False,
    qrels: Annotated[
        Path | None,
        typer.Option(
            "--qrels",
            metavar="FILE",
            help="With --eval: which chunks answer which query. Default: qrels/test.tsv beside "
            "the queries.",
        ),
    ] = None,
    kind: Annotated[
        Literal["text", "code"] | None,
        typer.Option(
            "--kind",
            help="With --eval DIR: rank its corpus as prose or as code. Default: what most of it "
            "looks like.",
        ),
    ] = None,
    as_json: Json = False,
    environment: Environment = None,
) -> None:
    """Find chunks of files by meaning and by words.

    In documentation, code, logs and metrics: whatever configs/embedding_models/ declares. Indexes
    are made by `models update-embeddings`; with --in, no project is needed. docs/search.md explains
    the ranking. A result whose file has changed or gone since then says so.
    """
    if evaluate:
        given = (query, within, top, per_file, modality, least_score, related)
        flags = (filters, explain, no_rerank, strict)
        if any(each is not None for each in given) or any(flags):
            raise InvalidInput(
                "--eval takes its queries from files", hint="leave QUERY and its options out"
            )
        if qrels is not None and len(evaluate) > 1:
            raise InvalidInput("--qrels has the answers of one --eval, and several are given")
        from modelyard.cli.search_evaluation import evaluate_ranking

        evaluate_ranking(
            evaluate,
            tune=tune,
            qrels=qrels,
            indexes=indexes or [],
            kind=kind,
            as_json=as_json,
            environment=environment,
        )
        return
    if within is not None and (indexes or environment is not None):
        raise InvalidInput(
            "--in PATH searches no index of a project", hint="leave --domain and --env out"
        )
    if related is not None:
        others = (query, per_file, modality, least_score, qrels, kind)
        if any(each is not None for each in others) or any(
            (filters, explain, no_rerank, strict, tune)
        ):
            raise InvalidInput(
                "--related takes no QUERY",
                hint="only --domain, --in, --top, --env and --json go with it",
            )
        with _searched(within, environment) as searched:
            _show_related(related, searched, indexes or [], top, as_json)
        return
    if query is None:
        raise InvalidInput("say what to look for", hint='models search "how do I roll back"')
    if qrels is not None or kind is not None or tune:
        raise InvalidInput("--qrels, --kind and --tune belong to --eval")

    from modelyard.retrieval.search import search as find

    text = _read_query() if query == "-" else query
    with _searched(within, environment) as searched:
        found = find(
            searched.project,
            text,
            indexes=indexes or [],
            top=top,
            filters=_read_filters(filters or []),
            environment=searched.environment,
            settings=searched.settings,
            rerank=not no_rerank,
            modality=modality,
            per_file=per_file,
            progress=LogProgress(),
        )
    if least_score is not None:
        kept = tuple(each for each in found.results if each.scores.final >= least_score)
        found = replace(found, results=kept)
    if as_json:
        print_json(found)
    else:
        from modelyard.cli.search_results import print_results

        print_results(found, explain=explain)
    if (strict and found.answered is False) or (least_score is not None and not found.results):
        sys.exit(NoData.exit_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Searched:
    """What is searched: an environment of the project, or a folder."""

    project: Project
    environment: str
    settings: SearchSettings | None
    """None: what the configs of the environment say."""


@contextmanager
def _searched(within: Path | None, environment: str | None) -> Iterator[_Searched]:
    if within is None:
        project = find_project()
        chosen = chosen_environment(project, environment)
        yield _Searched(project=project, environment=chosen, settings=None)
        return
    from modelyard.retrieval.searched_folder import open_searched_folder

    with showing_progress() as progress, open_searched_folder(within, progress) as folder:
        progress.end()
        yield _Searched(
            project=folder.project, environment=DEFAULT_ENVIRONMENT, settings=folder.settings
        )


def _read_query() -> str:
    """The text on stdin as a query; of a longer one, its beginning and its end."""
    text = read_piped("a text", _READ_BYTES + 1)
    if len(text) > _READ_BYTES:
        raise InvalidInput(
            f"is longer than {_READ_BYTES:,} bytes",
            where="stdin",
            hint="give the part that matters",
        )
    try:
        query = text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("is not UTF-8 text", where="stdin") from error
    if len(query) <= _LONGEST_QUERY:
        return query
    print_note(
        f"note: of the {len(query):,} characters on stdin the first and the last "
        f"{_LONGEST_QUERY // 2:,} are searched for"
    )
    return f"{query[: _LONGEST_QUERY // 2]}\n{query[-_LONGEST_QUERY // 2 :]}"


def _show_related(
    place: str, searched: _Searched, indexes: list[str], top: int | None, as_json: bool
) -> None:
    from modelyard.retrieval.nearby import find_nearby

    found = find_nearby(
        searched.project,
        place,
        indexes=indexes,
        top=top,
        environment=searched.environment,
        settings=searched.settings,
    )
    if as_json:
        print_json(found)
        return
    from modelyard.cli.search_results import print_nearby

    print_nearby(found)


def _read_filters(words: list[str]) -> dict[str, str]:
    filters: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InvalidInput(f"--filter {word}: is not KEY=VALUE", hint="such as kind=function")
        if key in filters:
            raise InvalidInput(f"--filter {key} is given twice")
        filters[key] = value
    return filters
