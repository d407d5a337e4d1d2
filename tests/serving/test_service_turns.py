"""No organisation takes all turns or all places in the line; all others get in."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection

import pytest
from service_process import until

from modelyard.core.layout import Project
from modelyard.serving.problems import Problem
from modelyard.serving.service import ServiceLimits
from modelyard.serving.turns import Turns
from served import serving
from served_project import LONG_CONTEXT


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def crowd(turns: Turns, wanted: dict[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Who holds how many turns and who was refused how often, when all have asked."""
    held, refused = Counter[str](), Counter[str]()

    async def ask(whose: str) -> None:
        try:
            await turns.take(whose)
            held[whose] += 1
        except Problem as problem:
            assert (problem.status, problem.code) == (429, "queue_full")
            refused[whose] += 1

    tasks = [asyncio.create_task(ask(who)) for who, times in wanted.items() for _ in range(times)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return held, refused


def test_one_organisation_leaves_half_of_all_to_others() -> None:
    async def trial() -> None:
        turns = Turns(at_once=8, waiting=8)
        held, refused = await crowd(turns, {"greedy": 20, "second": 20, "late": 1})
        assert held == {"greedy": 4, "second": 2, "late": 1}
        assert refused["greedy"] == 12 and refused["late"] == 0
        assert turns.waiting == 0  # those that left are not in the line any more

    asyncio.run(trial())


def test_turns_that_are_given_back_go_round() -> None:
    async def trial() -> None:
        turns = Turns(at_once=2, waiting=100)
        order: list[str] = []

        async def ask(whose: str) -> None:
            await turns.take(whose)
            order.append(whose)
            await settle()
            turns.give_back(whose)

        await asyncio.gather(*(ask(who) for who in [*"aaaaaa", *"bb", "c"]))
        assert sorted(order) == sorted("aaaaaabbc")
        assert order.index("c") < 5 and order[-3:] == ["a"] * 3

    asyncio.run(trial())


def test_one_that_leaves_as_its_turn_comes_gives_it_on() -> None:
    async def trial() -> None:
        turns = Turns(at_once=1, waiting=100)
        await turns.take("a")
        waiting = [asyncio.create_task(turns.take(who)) for who in "bcd"]
        await settle()
        turns.give_back("a")  # b has it, and does not know yet
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 10)
        assert turns.waiting == 0

    asyncio.run(trial())


def ask(address: str, key: str, **fields: object) -> HTTPConnection:
    connection = HTTPConnection(address, timeout=60)
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    headers = {"Authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_line_is_refused_and_others_are_answered(talking: Project, stream: bool) -> None:
    limits = ServiceLimits(answers_at_once=2, waiting=2)
    with serving(talking, limits=limits) as running:
        address = running.url.removeprefix("http://")
        keys = [running.key("acme"), running.key("zeta")]
        turns, fields = running.service.answers.turns, {"stream": stream, "model": "endless"}
        long = {**fields, "max_tokens": LONG_CONTEXT - 1000}
        with closing(ask(address, keys[0], **long)) as first:
            until(lambda: running.service.answerer.figures().running == 1)
            with closing(ask(address, keys[0], **long)) as second:
                until(lambda: turns.waiting == 1)
                with closing(ask(address, keys[0], **long)) as third:
                    refused = third.getresponse()
                    assert (refused.status, refused.getheader("Retry-After")) == (429, "1")
                    assert json.loads(refused.read())["error"]["code"] == "queue_full"
                with closing(ask(address, keys[1], model="talking")) as other:
                    assert other.getresponse().status == 200
                second.close()  # one that waits leaves the line at once
                until(lambda: turns.waiting == 0)
            first.close()
        until(lambda: running.service.answers.under_way == 0)
        with closing(ask(address, keys[0], model="talking")) as again:
            assert again.getresponse().status == 200
