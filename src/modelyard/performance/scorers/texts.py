"""Scorers that compare words: facts, exact, contains, regex, label, numbers and refusals."""

from __future__ import annotations

import re
from collections.abc import Collection

from modelyard.core.pattern_search import SearchTooLong, is_found
from modelyard.evaluation.scoring import answer_meets, labels_exact
from modelyard.performance.cases import Case
from modelyard.performance.scorers.quantities import quantities_in, same_quantity
from modelyard.performance.scorers.scored import RIGHT, Scored, right_or, unknown, wrong

_LONGEST_SEARCHED = 1_000_000
_SAYING = (
    "know|knowledge|contain|mention|say|state|specify|provide|include|find|answer|determine|tell|"
    "help|assist|disclose|share|confirm|give|information|details?|access|aware|sure|certain"
)
_DECLINED = re.compile(
    r"\b(?:"
    r"(?:do|does|did|is|are|am|was|were|can|could|would|will|have|has|'m)"
    rf"(?:\s?not|n't) (?:\w+ ){{0,3}}?(?:{_SAYING})"
    rf"|unable to (?:\w+ ){{0,2}}?(?:{_SAYING})|not able to (?:\w+ ){{0,2}}?(?:{_SAYING})"
    r"|(?:is|are|there's|have|has|found?) no (?:\w+ ){0,3}?"
    r"(?:information|mention|answer|data|records?|details?)"
    r"|nothing (?:\w+ ){0,3}?(?:about|on) "
    r"|not (?:\w+ ){0,2}?(?:mentioned|specified|stated|available|provided|known|found|given)"
    r"|unknown|no idea"
    r"|i(?:'m| am) (?:sorry|afraid)"
    r"|weiß (?:\w+ )?nicht|keine (?:\w+ )?(?:angabe|information)\w*"
    r"|nicht (?:\w+ )?(?:bekannt|enthalten|angegeben|beantworten)"
    r")",
    re.IGNORECASE,
)
"""Words with which people and models say that they do not know, or will not say."""


def score_facts(case: Case, answer: str) -> Scored:
    """Right when each group of `expect` has a text that occurs; the score is the share of them."""
    groups = case.right.expect
    missing = [group for group in groups if not answer_meets(answer, [group])]
    if not missing:
        return RIGHT
    return Scored(
        score=1 - len(missing) / len(groups),
        right=False,
        why=f"it does not say {', '.join(' or '.join(group) for group in missing)}",
    )


def score_exact(case: Case, answer: str) -> Scored:
    """Right when it is the right answer, but for case, punctuation and spaces."""
    wanted = (case.right.answer or "").strip()
    return right_or(labels_exact(answer, wanted), f"it is not {wanted!r}")


def score_contains(case: Case, answer: str) -> Scored:
    """Right when the right answer occurs in it, in whole words."""
    wanted = (case.right.answer or "").strip()
    return right_or(answer_meets(answer, [[wanted]]), f"{wanted!r} is not in it")


def score_regex(case: Case, answer: str) -> Scored:
    """Right when the pattern is found in it."""
    pattern = case.right.pattern or case.check.pattern or ""
    try:
        found = is_found(pattern, answer[:_LONGEST_SEARCHED])
    except SearchTooLong as error:
        return unknown(error.message)
    return right_or(found, f"{pattern} is not found in it")


def score_label(case: Case, answer: str, labels: Collection[str]) -> Scored:
    """Right when it is the label, or names it and no other of the check's labels.

    A label that is part of another one, such as `card` of `card lost`, counts as named only where
    it stands outside of the longer one.
    """
    wanted = case.right.label or ""
    if labels_exact(answer, wanted):
        return RIGHT
    rest, named = answer, set()
    for label in sorted(labels, key=len, reverse=True):
        if answer_meets(rest, [[label]]):
            named.add(label)
            words = re.escape(label).replace("_", r"[\W_]+").replace(r"\ ", r"[\W_]+")
            rest = re.sub(words, " ", rest, flags=re.IGNORECASE)
    if named == {wanted}:
        return RIGHT
    others = sorted(named - {wanted})
    return wrong(f"it names {', '.join(others)}" if others else f"it does not name {wanted}")


def score_numeric(case: Case, answer: str) -> Scored:
    """Right when the first or the last number of it is the right one.

    Numbers of another dimension than that of the right one, such as a year beside an amount of
    money, are passed over where there are some of the same.
    """
    wanted = quantities_in(case.right.answer or "")[0]
    found = quantities_in(answer)
    comparable = [each for each in found if each.dimension == wanted.dimension] or [
        each for each in found if wanted.dimension is None or each.dimension is None
    ]
    tolerance = case.check.tolerance
    if any(same_quantity(each, wanted, tolerance=tolerance) for each in comparable[:1]):
        return RIGHT
    if any(same_quantity(each, wanted, tolerance=tolerance) for each in comparable[-1:]):
        return RIGHT
    if not found:
        return wrong("there is no number in it")
    said = ", ".join(each.written for each in (comparable or found)[:3])
    return wrong(f"it says {said}, and not {wanted.written}")


def score_refusal(case: Case, answer: str) -> Scored:
    """Right when it says that it does not know; where the case has `expect`, when it says that."""
    declines = declines_to_answer(answer)
    if not case.right.expect:
        return right_or(declines, "it answers what cannot be answered")
    scored = score_facts(case, answer)
    if scored.right or not declines:
        return scored
    return wrong("it does not answer what can be answered")


def declines_to_answer(answer: str) -> bool:
    """Whether an answer says that it does not know, or will not say, in English or German."""
    return _DECLINED.search(answer.replace("\u2019", "'")) is not None
