"""`models search --eval`: how good the ranking is on questions whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from modelyard.cli.job_progress import showing_progress
from modelyard.cli.options import chosen_environment
from modelyard.cli.render import print_json, print_note, print_table, print_title
from modelyard.core.layout import find_project
from modelyard.core.wording import counted, visible_line

if TYPE_CHECKING:
    from modelyard.core.progress import Progress
    from modelyard.retrieval.evaluate import SearchEvaluation
    from modelyard.retrieval.tuning import WeightTuning


class _Options(TypedDict):
    """What both ways of measuring are given alike."""

    qrels: Path | None
    indexes: list[str]
    kind: Literal["text", "code"] | None
    environment: str
    progress: Progress


def evaluate_ranking(
    sources: list[Path],
    *,
    tune: bool,
    qrels: Path | None,
    indexes: list[str],
    kind: Literal["text", "code"] | None,
    as_json: bool,
    environment: str | None,
) -> None:
    """Measure the ranking on these sets, or with `tune` several weights of its dense score."""
    from modelyard.retrieval.evaluate import SearchEvaluations, evaluate_search
    from modelyard.retrieval.tuning import tune_weights

    project = find_project()
    chosen = chosen_environment(project, environment)
    with showing_progress() as progress:
        options = _Options(
            qrels=qrels, indexes=indexes, kind=kind, environment=chosen, progress=progress
        )
        if tune:
            tuning = tune_weights(project, sources, **options)
        else:
            sets = [
                evaluation
                for source in sources
                for evaluation in evaluate_search(project, source, **options)
            ]
    if tune:
        print_json(tuning) if as_json else _print_tuning(tuning)
        return
    if as_json:
        print_json(SearchEvaluations(sets=tuple(sets)))
        return
    for evaluation in sets:
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
