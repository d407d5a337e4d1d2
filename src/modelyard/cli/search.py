"""`models search`: the chunks that answer a question, best first, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelyard.cli.job_progress import LogProgress, showing_progress
from modelyard.cli.options import Environment, Json, chosen_environment
from modelyard.cli.render import (
    bold_marks,
    print_json,
    print_lines,
    print_note,
    print_table,
    print_title,
)
from modelyard.cli.stdin import read_piped
from modelyard.core.errors import InvalidInput, NoData
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, visible_line, visible_text

if TYPE_CHECKING:
    from modelyard.retrieval.evaluate import SearchEvaluation
    from modelyard.retrieval.results import Result, SearchResults
    from modelyard.retrieval.tuning import WeightTuning

_READ_BYTES = 10_000_000
_LONGEST_QUERY = 20_000
"""Characters of a query that is read from stdin."""
_SHOWN_LINES = 3
_ALSO = 3
"""Other places of a text that are named with it; --json has all."""
_STATES = {"same": "", "changed": "  (changed since)", "gone": "  (gone since)"}


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
    are made by `models update-embeddings`. docs/search.md explains the ranking. A result whose file
    has changed or gone since then says so.
    """

    if evaluate:
        given = (query, top, per_file, modality, least_score, related)
        flags = (filters, explain, no_rerank, strict)
        if any(each is not None for each in given) or any(flags):
            raise InvalidInput(
                "--eval takes its queries from files", hint="leave QUERY and its options out"
            )
        if qrels is not None and len(evaluate) > 1:
            raise InvalidInput("--qrels has the answers of one --eval, and several are given")
        measure = _tune if tune else _evaluate
        measure(evaluate, qrels, indexes or [], kind, as_json, environment)
        return
    if related is not None:
        others = (query, per_file, modality, least_score, qrels, kind)
        if any(each is not None for each in others) or any(
            (filters, explain, no_rerank, strict, tune)
        ):
            raise InvalidInput(
                "--related takes no QUERY", hint="only --domain, --top, --env and --json go with it"
            )
        _show_related(related, indexes or [], top, as_json, environment)
        return
    if query is None:
        raise InvalidInput("say what to look for", hint='models search "how do I roll back"')
    if qrels is not None or kind is not None or tune:
        raise InvalidInput("--qrels, --kind and --tune belong to --eval")

    from modelyard.retrieval.search import search as find

    project = find_project()
    found = find(
        project,
        _read_query() if query == "-" else query,
        indexes=indexes or [],
        top=top,
        filters=_read_filters(filters or []),
        environment=chosen_environment(project, environment),
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
        _print_results(found, explain)
    if (strict and found.answered is False) or (least_score is not None and not found.results):
        sys.exit(NoData.exit_code)


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
    place: str, indexes: list[str], top: int | None, as_json: bool, environment: str | None
) -> None:
    from modelyard.retrieval.nearby import find_nearby

    project = find_project()
    found = find_nearby(
        project,
        place,
        indexes=indexes,
        top=top,
        environment=chosen_environment(project, environment),
    )
    if as_json:
        print_json(found)
        return
    for note in found.notes:
        print_note(f"note: {note}")
    chunk = found.chunk
    print_note(
        visible_line(
            f"near {chunk.path}:{chunk.first_line}-{chunk.last_line}  {_first_line(chunk.title)}"
        )
    )
    for number, near in enumerate(found.results, 1):
        chunk = near.chunk
        where = f"{chunk.path}:{chunk.first_line}-{chunk.last_line}"
        head = "  ".join(part for part in (where, _first_line(chunk.title)) if part)
        state = _STATES[near.state]
        print_lines([f"{number}. {visible_line(head)}  [{near.index}]  {near.cosine:.3f}{state}"])
        print_lines(f"     {visible_line(line)}" for line in chunk.text.split("\n")[:_SHOWN_LINES])


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


def _print_results(found: SearchResults, explain: bool) -> None:

    for note in found.notes:
        print_note(f"note: {note}")
    if explain:
        print_lines(_understood(found))
    if not found.results:
        print_note("nothing found")
    bold = bold_marks()
    for place, result in enumerate(found.results, 1):
        print_lines(_result_lines(place, result, explain, bold))


def _understood(found: SearchResults) -> Iterator[str]:

    query = found.query
    yield f"terms    {' '.join(query.terms) or '(none)'}"
    if query.phrases:
        yield "phrases  " + visible_line(", ".join(f'"{phrase}"' for phrase in query.phrases))
    if query.names:
        yield "names    " + visible_line(", ".join(query.names))
    for index in found.asked:
        allowed = (
            "" if index.allowed == index.chunks else f", {index.allowed:,} of them let through"
        )
        yield (
            f"asked    {index.index}: {counted(index.chunks, 'chunk')}{allowed}; "
            f"dense {index.dense_weight:.0%} ({visible_line(index.because)})"
        )
    if found.reranker is not None:
        read = sum(result.scores.reranked is not None for result in found.results)
        yield visible_line(f"reranked {read} of the results below, by {found.reranker}")
    yield ""


def _result_lines(
    place: int, result: Result, explain: bool, bold: tuple[str, str] | None
) -> Iterator[str]:

    chunk = result.chunk
    where = f"{chunk.path}:{chunk.first_line}-{chunk.last_line}"
    head = visible_line("  ".join(part for part in (where, _first_line(chunk.title)) if part))
    start, end = bold or ("", "")
    state = _STATES[result.state]
    yield f"{place}. {start}{head}{end}  [{result.index}]  {result.scores.final:.3f}{state}"
    start, end = bold or ("‹", "›")
    text = "".join(
        f"{start}{visible_text(piece)}{end}" if matched else visible_text(piece)
        for piece, matched in result.snippet.pieces()
    )
    yield from (f"     {line}" for line in text.split("\n"))
    if explain:
        yield from (f"     {line}" for line in _explained(result))
    if result.also:
        more = len(result.also) - _ALSO
        places = ", ".join(visible_line(also) for also in result.also[:_ALSO])
        yield f"     also {places}" + (f" and {more:,} more" if more > 0 else "")
    if result.more:
        yield f"     more of this file: lines {', '.join(result.more)}"
    for link in result.related:
        target = f"{link.path}:{link.first_line}  {_first_line(link.title)}".rstrip()
        yield f"     → {visible_line(target)}  [{link.index}]  {visible_line(link.why)}"
    yield ""


def _first_line(title: str) -> str:
    return title.partition("\n")[0]


def _explained(result: Result) -> Iterator[str]:
    from modelyard.retrieval.candidates import FACTORS
    from modelyard.retrieval.ranking import CROWDING_WEIGHT

    scores = result.scores
    boosts = "".join(
        f"; {name} {'x' if name in FACTORS else '+'} {value:.2f}"
        for name, value in scores.boosts.items()
    )
    rest = 1 - scores.dense_weight
    crowding = CROWDING_WEIGHT * scores.crowding
    yield (
        f"{scores.fused:.3f} = {scores.dense_weight:.2f} x (dense {scores.dense:.3f} "
        f"{'-' if crowding >= 0 else '+'} crowding {abs(crowding):.3f}) "
        f"+ {rest:.2f} x lexical {scores.lexical:.2f}/{scores.lexical_scale:.2f}{boosts}"
    )
    if scores.reranked is not None:
        yield f"logistic(reranked {scores.reranked:.2f}){boosts} = {scores.final:.3f}"


def _evaluate(
    sources: list[Path],
    qrels: Path | None,
    indexes: list[str],
    kind: Literal["text", "code"] | None,
    as_json: bool,
    environment: str | None,
) -> None:
    from modelyard.retrieval.evaluate import SearchEvaluations, evaluate_search

    project = find_project()
    with showing_progress() as progress:
        evaluations = [
            evaluation
            for source in sources
            for evaluation in evaluate_search(
                project,
                source,
                qrels=qrels,
                indexes=indexes,
                kind=kind,
                environment=chosen_environment(project, environment),
                progress=progress,
            )
        ]
    if as_json:
        print_json(SearchEvaluations(sets=tuple(evaluations)))
        return
    for evaluation in evaluations:
        _print_evaluation(evaluation)


def _print_evaluation(evaluation: SearchEvaluation) -> None:

    print_title(
        f"{evaluation.name}: {counted(evaluation.queries, 'query', 'queries')}, "
        f"{counted(evaluation.chunks, 'chunk')}, "
        f"dense {evaluation.dense_weight:.0%}, vectors of {evaluation.encoder}"
    )
    if evaluation.unknown:
        unknown, more = evaluation.unknown, ", ..." if evaluation.unknown[3:] else ""
        print_note(
            f"note: {len(unknown):,} of {evaluation.answers:,} answers name no file there: "
            f"{visible_line(', '.join(unknown[:3]))}{more}"
        )
    print_table(
        ["measure", ">dense", ">lexical", ">fused", ">fused less the better side"],
        [
            (
                name,
                measure.dense.shown,
                measure.lexical.shown,
                measure.fused.shown,
                measure.gain.signed,
            )
            for name, measure in evaluation.measures.items()
        ],
    )


def _tune(
    sources: list[Path],
    qrels: Path | None,
    indexes: list[str],
    kind: Literal["text", "code"] | None,
    as_json: bool,
    environment: str | None,
) -> None:
    from modelyard.retrieval.tuning import tune_weights

    project = find_project()
    with showing_progress() as progress:
        found = tune_weights(
            project,
            sources,
            qrels=qrels,
            indexes=indexes,
            kind=kind,
            environment=chosen_environment(project, environment),
            progress=progress,
        )
    if as_json:
        print_json(found)
    else:
        _print_tuning(found)


def _print_tuning(found: WeightTuning) -> None:
    from modelyard.retrieval.tuning import TRIED

    rows = []
    for each in found.sets:
        by_weight = {score.dense_weight: f"{score.ndcg:.3f}" for score in each.tried}
        rows.append(
            (
                each.name,
                *(by_weight[weight] for weight in TRIED),
                f"{by_weight[each.dense_weight]} ({each.dense_weight:.0%})",
            )
        )
    print_title("nDCG@10 by the weight of the dense score")
    print_table(["set", *(f">{weight:.0%}" for weight in TRIED), ">as configured"], rows)
    print_title("each set with the weight that is best on the others of its kind")
    print_table(
        ["set", "kind", ">of the others", ">gain on the config's", ">best on itself"],
        [
            (
                each.name,
                each.kind,
                "none" if each.chosen_by_others is None else f"{each.chosen_by_others:.0%}",
                "unknown" if each.gain is None else each.gain.signed,
                f"{each.best:.0%}",
            )
            for each in found.sets
        ],
    )
    for kind, weight in found.best.items():
        alone = sum(each.kind == kind for each in found.sets) == 1
        doubt = "; with one set, how well that holds on others is unknown" if alone else ""
        print_note(f"best on all sets of {kind}: fusion.dense {weight:.0%}{doubt}")
