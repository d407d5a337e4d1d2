"""Who is in an A/B test gets one side of it, always the same, and everything follows that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from answer_samples import make_effective, make_request
from asking import Asking, open_asking
from modelyard.answering.ab_test import follow_ab_test, split
from modelyard.answering.route_explained import explain_route
from modelyard.configs.kinds.performance_profiles import AnswerCache
from modelyard.core.errors import InvalidInput
from modelyard.deployments.effective_settings import Effective, EffectiveAbTest
from provider_server import chat

USERS = [f"user-{number}" for number in range(400)]


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with open_asking(tmp_path / "project") as opened:
        opened.first.answer(chat("Ann."))
        opened.second.answer(chat("Bob."))
        yield opened


def under_test(settings: Effective, *, b: Effective, share_of_b: float = 0.5) -> Effective:
    test = EffectiveAbTest(
        name="trial",
        share_of_b=share_of_b,
        a=replace(settings, variant="trial/a"),
        b=replace(b, variant="trial/b"),
    )
    return replace(settings, ab_test=test)


def of_both_servers(asking: Asking) -> Effective:
    """First answers on side a, second on side b; both keep answers."""
    cache = AnswerCache(enabled=True)
    settings = asking.effective(cache=cache)
    return under_test(settings, b=replace(settings, model=asking.model("second"), fallback=()))


def on_side(side: str) -> str:
    """A user of acme who gets this side of `trial`."""
    return next(u for u in USERS if (split("trial", "acme", u) < 0.5) == (side == "b"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_so_many_of_those_who_ask_get_the_second_side(share: float) -> None:
    settings = make_effective()
    test = under_test(settings, b=settings, share_of_b=share)
    sides = [follow_ab_test(test, make_request("?", user=user)).variant for user in USERS]
    assert set(sides) <= {"trial/a", "trial/b"}
    assert abs(sides.count("trial/b") / len(USERS) - share) < 0.08


def test_a_side_depends_on_organisation_user_and_test_and_never_changes() -> None:
    # These numbers are a promise: another one would send people to the other side.
    assert split("trial", "acme", "ann") == pytest.approx(0.4532978, abs=1e-6)
    assert split("trial", None, "ann") != split("trial", "ann", None)
    others = [split("trial", "beta", "ann"), split("other", "acme", "ann")]
    assert split("trial", "acme", "ann") not in others


def test_who_gives_neither_organisation_nor_user_is_in_no_test_nor_is_a_test_of_the_models() -> (
    None
):
    settings = make_effective()
    test = under_test(settings, b=settings)
    assert follow_ab_test(test, make_request("?")).variant is None
    assert follow_ab_test(test, make_request("?", organisation="acme")).variant is not None
    request = make_request("?", organisation="acme", is_test=True)
    assert follow_ab_test(test, request).variant is None


@pytest.mark.parametrize("user", ["", "a\nb", "x" * 201])
def test_a_user_that_cannot_be_one_is_refused(user: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 200 printable"):
        follow_ab_test(make_effective(), make_request("?", user=user))


def test_answers_samples_and_calls_are_those_of_the_side(asking: Asking) -> None:
    test = of_both_servers(asking)
    for side, model in (("a", "first"), ("b", "second")):
        answer = asking.ask(test, organisation="acme", user=on_side(side))
        assert (answer.model, answer.variant) == (model, f"trial/{side}")
    variants = [sample.variant for sample in asking.samples()]
    assert variants == ["trial/a", "trial/b"]
    assert [sample.variant for sample in asking.samples("call")] == variants
    assert all(on_side(side) not in repr(asking.samples()) for side in "ab")


def test_an_answer_kept_on_one_side_is_never_given_on_the_other(asking: Asking) -> None:
    test = of_both_servers(asking)
    assert asking.ask(test, organisation="acme", user=on_side("a")).text == "Ann."
    assert asking.ask(test, organisation="acme", user=on_side("b")).text == "Bob."
    again = asking.ask(test, organisation="acme", user=on_side("b"))
    assert (again.text, again.from_cache, again.variant) == ("Bob.", True, "trial/b")


def test_a_failed_request_counts_for_its_side(asking: Asking) -> None:
    test = of_both_servers(asking)
    asking.second.answer([b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"])
    with pytest.raises(Exception, match="no model answered"):
        asking.ask(test, organisation="acme", user=on_side("b"))
    assert [(sample.outcome, sample.variant) for sample in asking.samples()] == [
        ("failed", "trial/b")
    ]


def test_the_route_is_that_of_the_side(asking: Asking) -> None:
    test = of_both_servers(asking)
    for side, model in (("a", "first"), ("b", "second")):
        route = explain_route(
            asking.answerer, test, input_tokens=10, organisation="acme", user=on_side(side)
        )
        assert (route.asked[0].model, route.variant) == (model, f"trial/{side}")
