"""Every request ends once, with the answer that it has alone, whatever joins, leaves or fails."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import pytest
import torch
from toy_decoder import (
    END,
    TOKENIZER,
    VOCABULARY,
    ToyDecoder,
    ToyRows,
    ToySlots,
    answer_alone,
    toy_adapter,
)

from killed import SOAK
from modelyard.core.errors import InvalidInput, ModelyardError
from modelyard.inference.engine_limits import BatchShare
from modelyard.inference.generation import Generation, Request
from modelyard.inference.interfaces import Segment
from modelyard.inference.sampling import Sampling
from modelyard.inference.scheduler import Limits, QueueFull, Scheduler


@dataclass
class StepClock:
    """Time that passes by a second in each step."""

    decoder: ToyDecoder

    def __call__(self) -> float:
        return float(len(self.decoder.steps))


@dataclass
class Run:
    """A scheduler over a toy decoder."""

    decoder: ToyDecoder = field(default_factory=ToyDecoder)
    limits: Limits = field(default_factory=lambda: Limits(rows=8))

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.decoder, self.limits, clock=StepClock(self.decoder))

    def submit(
        self, prompt: Sequence[int] = (1, 2, 3), adapter: str | None = None, **settings: Any
    ) -> Generation:
        asked = {key: settings.pop(key)
                 for key in ("organisation", "use_prefix_cache", "constraint", "share")
                 if key in settings}  # fmt: skip
        return self.scheduler.submit(
            Request(
                prompt=tuple(prompt),
                adapter=toy_adapter(adapter) if adapter else None,
                tokenizer=TOKENIZER,
                sampling=Sampling(**{"max_new_tokens": 10, **settings}),
                **asked,
            )
        )

    def finish(self) -> None:
        for _ in range(100_000):
            if not self.scheduler.step():
                return
        raise AssertionError("there is no end")

    def has_nothing_left(self) -> bool:
        counts = self.decoder.in_use, self.scheduler.running, self.scheduler.waiting
        return counts == (0, 0, 0)


def is_answered(generation: Generation) -> bool:
    request = generation.request
    expected = answer_alone(request.prompt, request.adapter, request.sampling)
    ended = "length" if len(expected) == request.sampling.max_new_tokens else "stop"
    return (generation.tokens, generation.finish) == (expected, ended)


def some_request(chosen: random.Random, beginnings: Sequence[Sequence[int]]) -> dict[str, Any]:
    own = [chosen.randrange(1, VOCABULARY) for _ in range(chosen.randint(1, 40))]
    return {
        "prompt": [*chosen.choice(beginnings), *own],
        "adapter": chosen.choice([None, "a", "b", "c", "d", "e", "f"]),
        "organisation": chosen.choice("xyz"),
        "max_new_tokens": chosen.randint(1, 30),
        "temperature": chosen.choice([0, 0, 1.0]),
        "top_k": chosen.choice([0, 3]),
        "seed": chosen.randrange(100),
        "use_prefix_cache": chosen.random() < 0.8,
    }


@pytest.mark.parametrize("seed", range(3 * SOAK))
def test_any_mixture_gives_every_request_the_answer_it_has_alone(seed: int) -> None:
    chosen = random.Random(seed)
    beginnings = [[chosen.randrange(1, VOCABULARY) for _ in range(70)], [], [5] * 40]
    run = Run(
        ToyDecoder(ToyRows(room=chosen.choice([400, 2000])), ToySlots(chosen.choice([1, 2, 7]))),
        Limits(
            rows=chosen.choice([1, 5, 16]),
            prompt_tokens=chosen.choice([7, 64, 2048]),
            gap_ratio=chosen.choice([None, 2.2]),
            wait_s=chosen.choice([0, 20]),
            prefix_cache_bytes=chosen.choice([0, 20_000, 10**9]),
        ),
    )
    run.decoder.bank.broken = {"sha256:f"}
    asked: list[Generation] = []
    cancelled: list[Generation] = []
    for _ in range(60):
        asked += [
            run.submit(**some_request(chosen, beginnings)) for _ in range(chosen.randint(0, 4))
        ]
        run.scheduler.step()
        if chosen.random() < 0.2 and asked:
            cancelled.append(asked.pop(chosen.randrange(len(asked))))
            cancelled[-1].cancel()
    run.finish()
    broken = [each for each in asked if each.request.adapter == toy_adapter("f")]
    assert all(each.finish == "error" and each.error for each in broken)
    assert all(is_answered(each) for each in asked if each not in broken)
    for each in asked:
        assert each.text == "".join(f"{token}," for token in each.tokens) == each.take_text()
    assert {each.finish for each in cancelled} <= {"cancelled", "stop", "length", "error"}
    assert run.has_nothing_left()


@pytest.mark.parametrize("wait_s", [0, 1000])
def test_answers_of_one_kind_take_no_more_of_a_step_than_their_share(wait_s: float) -> None:
    """Nor do they keep others from the rest of it, however long they wait."""
    run = Run(limits=Limits(rows=8, wait_s=wait_s))
    share = BatchShare(of="summaries", most=2)
    long = {"max_new_tokens": 40, "temperature": 1.0}
    held = [run.submit([n], "ab"[n % 2], share=share, seed=n, **long) for n in range(1, 7)]
    run.scheduler.step()
    run.scheduler.step()
    assert run.scheduler.running == 2
    free = [run.submit([n], "c", seed=n, **long) for n in range(1, 5)]
    run.scheduler.step()
    assert run.scheduler.running == 6
    run.finish()
    assert all(map(is_answered, [*held, *free]))
    assert run.has_nothing_left()


def test_requests_come_and_go_from_other_threads() -> None:
    run = Run(limits=Limits(rows=6, waiting=20, prefix_cache_bytes=20_000))
    answered, refused = Counter[str](), Counter[str]()
    done = Event()

    def ask(number: int) -> None:
        chosen = random.Random(number)
        for _ in range(40 * SOAK):
            try:
                generation = run.submit(**some_request(chosen, [[7] * 40]))
            except QueueFull:
                refused[str(number)] += 1
                continue
            if chosen.random() < 0.2:
                generation.cancel()
            while generation.finish is None:
                done.wait(0.0005)
            correct = generation.finish == "cancelled" or is_answered(generation)
            answered["right" if correct else "wrong"] += 1

    threads = [Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        run.scheduler.step()
    run.finish()
    assert set(answered) == {"right"}
    assert answered.total() + refused.total() == 4 * 40 * SOAK
    assert run.has_nothing_left()


def test_a_request_joins_at_the_next_step_and_leaves_when_it_ends() -> None:
    run = Run()
    first = run.submit(max_new_tokens=30, temperature=1.0, seed=1)
    for _ in range(3):
        run.scheduler.step()
    assert len(first.tokens) == 3
    second = run.submit(max_new_tokens=1)
    run.scheduler.step()
    assert len(first.tokens) == 4
    run.finish()
    joined = [len(segments) for segments in run.decoder.steps]
    assert len(second.tokens) == 1
    assert max(joined) == 2 and joined[5:] == [1] * (len(joined) - 5)


def test_a_cancelled_and_a_dropped_answer_leave_at_the_next_step() -> None:
    run = Run()
    wanted, cancelled, dropped = (run.submit(max_new_tokens=100, seed=n, temperature=1.0)
                                  for n in (3, 4, 5))  # fmt: skip
    run.scheduler.step()
    assert run.scheduler.running == 3
    cancelled.cancel()
    del dropped
    gc.collect()
    run.scheduler.step()
    assert run.scheduler.running == 1
    assert (cancelled.finish, len(cancelled.tokens)) == ("cancelled", 1)
    cancelled.cancel()
    run.finish()
    assert is_answered(wanted)


def test_what_can_never_be_computed_and_too_many_are_refused() -> None:
    run = Run(limits=Limits(rows=1, waiting=2))
    with pytest.raises(
        InvalidInput, match="190 tokens of the prompt and 11 new ones are more than"
    ):
        run.submit([1] * 190, max_new_tokens=11)
    with pytest.raises(InvalidInput, match="no tokens"):
        run.submit([])
    for token in (-1, VOCABULARY, 2**63):
        with pytest.raises(InvalidInput, match="none of the 40 that the base reads"):
            run.submit([1, token])
    kept = [run.submit(), run.submit()]
    with pytest.raises(QueueFull, match="2 requests wait already"):
        run.submit()
    run.scheduler.step()
    kept.append(run.submit())
    with pytest.raises(QueueFull):
        run.submit()
    kept[1].cancel()
    run.scheduler.step()
    kept.append(run.submit())
    run.finish()
    assert run.has_nothing_left()


def test_no_organisation_can_fill_the_line() -> None:
    run = Run(limits=Limits(rows=1, waiting=5, waiting_each=2))
    kept = [run.submit(organisation="many") for _ in range(2)]
    with pytest.raises(QueueFull, match="2 requests of this organisation wait already"):
        run.submit(organisation="many")
    kept += [run.submit(organisation="other") for _ in range(2)]
    run.scheduler.step()  # one of "many" runs
    kept[1].cancel()
    run.scheduler.step()
    kept += [run.submit(organisation="many") for _ in range(2)]
    with pytest.raises(QueueFull):
        run.submit(organisation="many")
    run.finish()
    kept += [run.submit(organisation="many") for _ in range(2)]
    run.finish()
    assert run.has_nothing_left()
    assert not run.scheduler._in_line


@pytest.mark.parametrize("when", ["waiting", "prompt", "decoding"])
def test_who_goes_away_leaves_within_one_step_and_gives_everything_back(when: str) -> None:
    limits = Limits(rows=1 if when == "waiting" else 4, prompt_tokens=16, gap_ratio=None)
    run = Run(ToyDecoder(bank=ToySlots(2)), limits)
    other = run.submit(adapter="a", max_new_tokens=100, temperature=1, seed=3)
    run.scheduler.step()
    leaving = run.submit([7] * 100, adapter="b", max_new_tokens=50, temperature=1, seed=5)
    for _ in range({"waiting": 3, "prompt": 3, "decoding": 12}[when]):
        run.scheduler.step()
    assert bool(leaving.tokens) == (when == "decoding")
    assert run.scheduler.waiting == (when == "waiting")
    leaving.cancel()
    run.scheduler.step()
    assert leaving.finish == "cancelled"
    assert (run.scheduler.running, run.scheduler.waiting) == (1, 0)
    assert run.decoder.in_use == 2  # the other's row and slot
    assert len(run.decoder.steps[-1]) == 1
    run.finish()
    assert is_answered(other) and run.has_nothing_left()


@dataclass
class Alternating:
    """A form: even and odd tokens in turn, `count` of them, and then the end."""

    count: int
    taken: list[int] = field(default_factory=list)
    fails_at: int | None = None

    def allowed(self) -> torch.Tensor | None:
        allowed = torch.arange(VOCABULARY - 5) % 2 == len(self.taken) % 2
        allowed[END] = False
        if len(self.taken) == self.count:
            allowed = torch.tensor([True])
        return allowed & (self.fails_at != len(self.taken))

    def advance(self, token: int) -> None:
        self.taken.append(token)
        if token == 11:
            raise ModelyardError("eleven was not expected")


@pytest.mark.parametrize("settings", [{}, {"temperature": 2}, {"temperature": 1, "top_k": 3}])
def test_a_constraint_holds_for_its_own_answer_and_changes_no_other(
    settings: dict[str, Any],
) -> None:
    run = Run()
    forms = [Alternating(count) for count in (1, 4, 7, 7)]
    free = [run.submit([n], seed=n, **settings) for n in range(1, 4)]
    bound = [
        run.submit([n], seed=n, constraint=form, **settings) for n, form in enumerate(forms, 5)
    ]
    run.finish()
    assert all(map(is_answered, free))
    ended = [each for each in bound if each.finish == "stop"]
    assert ended
    for each, form in zip(bound, forms, strict=True):
        if each in ended:
            assert len(each.tokens) == form.count
        assert all(token % 2 == place % 2 for place, token in enumerate(each.tokens))
        assert 0 not in each.tokens and max(each.tokens, default=0) < VOCABULARY - 5
        assert each in ended or (each.error and "eleven" in str(each.error))
    assert run.has_nothing_left()


def test_a_constraint_that_lets_nothing_follow_ends_its_answer_and_no_other() -> None:
    run = Run()
    stuck = run.submit([1], constraint=Alternating(9, fails_at=2))
    other = run.submit([2], temperature=1, seed=4)
    run.finish()
    assert stuck.finish == "error" and len(stuck.tokens) == 2
    assert "no token may follow" in str(stuck.error)
    assert is_answered(other) and run.has_nothing_left()


def test_a_stop_string_ends_an_answer_where_its_tokens_complete_it() -> None:
    run = Run()
    whole = run.submit([4, 5], max_new_tokens=12)
    run.finish()
    stop = f"{whole.tokens[2]},{whole.tokens[3]}"
    stopped = run.submit([4, 5], max_new_tokens=12, stop=(stop,))
    run.finish()
    assert stopped.finish == "stop"
    assert stopped.text == f"{whole.tokens[0]},{whole.tokens[1]},"
    assert stopped.tokens == whole.tokens[:4]


def test_an_adapter_that_does_not_load_ends_its_requests_and_no_others() -> None:
    run = Run()
    run.decoder.bank.broken = {"sha256:bad"}
    good = [run.submit(adapter="good", seed=n, temperature=1) for n in range(3)]
    bad = run.submit(adapter="bad")
    run.finish()
    assert all(map(is_answered, good))
    assert (bad.finish, str(bad.error)) == ("error", str(bad.error))
    assert bad.error is not None and "has changed" in bad.error.message
    assert run.has_nothing_left()


def test_a_fault_that_nobody_foresaw_ends_its_request_and_no_others() -> None:
    run = Run()
    run.decoder.bank.faulty = {"sha256:bad"}
    good = [run.submit(adapter="good", seed=n, temperature=1) for n in range(3)]
    bad = run.submit(adapter="bad")
    run.finish()
    assert all(map(is_answered, good))
    assert bad.error is not None and "could not begin: RuntimeError" in bad.error.message
    assert run.has_nothing_left()


def test_an_adapter_that_computes_no_numbers_ends_its_requests_and_no_others() -> None:
    run = Run()
    computed = run.decoder.step

    def damaged(segments: Sequence[Segment]) -> torch.Tensor:
        logits = computed(segments)
        wanted = [segment for segment in segments if segment.logits == "last"]
        for place, segment in enumerate(wanted):
            slot = segment.slot
            if slot is not None and run.decoder.bank.held[slot] == toy_adapter("bad"):
                logits[place] = torch.nan
        return logits

    run.decoder.step = damaged  # type: ignore[method-assign]
    bad, good = run.submit(adapter="bad", prompt=[6] * 50), run.submit(adapter="good")
    run.finish()
    assert is_answered(good)
    assert bad.finish == "error" and bad.error and bad.error.where == "adapter sha256:bad"
    assert not run.submit(adapter="bad", prompt=[6] * 50).cached_tokens
    assert run.scheduler._prefixes.size_bytes == 0


def test_when_the_decoder_fails_nobody_waits_for_ever_and_the_next_ones_run() -> None:
    run = Run(limits=Limits(rows=2))
    asked = [run.submit(temperature=1, seed=n, max_new_tokens=20) for n in range(4)]

    def fail(segments: Sequence[Segment]) -> None:
        if len(run.decoder.steps) == 2:
            run.decoder.on_step = lambda segments: None
            raise RuntimeError("out of memory")

    run.decoder.on_step = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        run.finish()
    assert [each.finish for each in asked] == ["error", "error", None, None]
    assert isinstance(asked[0].error, ModelyardError) and "out of memory" in str(asked[0].error)
    run.finish()
    assert all(map(is_answered, asked[2:]))
    assert run.has_nothing_left()


def test_a_replaced_version_answers_those_who_began_with_it_and_then_goes() -> None:
    run = Run(ToyDecoder(bank=ToySlots(2)), Limits(rows=2))
    old = [run.submit([9] * 40, adapter="one", temperature=1, seed=n) for n in range(4)]
    run.scheduler.step()
    run.scheduler.retire(toy_adapter("one"))
    new = [run.submit([9] * 40, adapter="two", temperature=1, seed=n) for n in range(4)]
    run.scheduler.step()
    assert not run.decoder.bank.unloaded
    run.finish()
    assert all(map(is_answered, old + new))
    assert run.decoder.bank.unloaded == {"sha256:one"}
    scopes = {block.scope.digest for block in run.scheduler._prefixes._blocks.values()}
    assert scopes == {"sha256:two"}


def test_a_version_that_comes_back_before_it_is_gone_stays() -> None:
    run = Run()
    first = run.submit(adapter="one")
    run.scheduler.retire(toy_adapter("one"))
    second = run.submit(adapter="one", temperature=1, seed=1)
    run.finish()
    assert is_answered(first) and is_answered(second)
    assert not run.decoder.bank.unloaded
    run.scheduler.retire(toy_adapter("one"))
    run.scheduler.step()
    assert run.decoder.bank.unloaded == {"sha256:one"}


def test_one_adapter_is_put_into_a_slot_beside_running_answers() -> None:
    run = Run()
    kept = [run.submit(adapter="a", max_new_tokens=100, temperature=1, seed=3)]
    run.scheduler.step()
    kept += [run.submit(adapter=name) for name in "bcd"]
    for fills in (2, 3, 4):
        run.scheduler.step()
        assert run.decoder.bank.fills == fills


def keep_busy(run: Run, kept: list[Generation], at_once: int, **settings: Any) -> None:
    """Keep so many requests, of different lengths, waiting or running."""
    while sum(each.finish is None for each in kept) < at_once:
        number = len(kept)
        length = 4 + 7 * number % 5
        kept.append(run.submit(max_new_tokens=length, temperature=1, seed=number, **settings))


def steps_until_answered(run: Run, late: dict[str, Any], others: Sequence[dict[str, Any]]) -> int:
    """How long one request takes, that comes among others which never cease."""
    kept: list[list[Generation]] = [[] for _ in others]
    for step in range(400):
        for asked, settings in zip(kept, others, strict=True):
            keep_busy(run, asked, **settings)
        if step == 20:
            waiting = run.submit(**late)
        run.scheduler.step()
        if step >= 20 and waiting.finish:
            assert is_answered(waiting)
            break
    run.finish()
    assert all(is_answered(each) for asked in kept for each in asked)
    return step - 20


@pytest.mark.parametrize("wait_s", [30, 10**9])
def test_a_request_without_a_slot_is_passed_but_not_for_ever(wait_s: int) -> None:
    run = Run(ToyDecoder(bank=ToySlots(2)), Limits(rows=16, wait_s=wait_s))
    others = [{"adapter": "a", "at_once": 8}, {"adapter": "b", "at_once": 8}]
    steps = steps_until_answered(run, {"adapter": "late"}, others)
    # It waits 30 steps, and for the running answers of one adapter: 8 tokens; then it has 10.
    assert 30 <= steps <= 30 + 10 + 12 if wait_s == 30 else steps == 379


@pytest.mark.parametrize("wait_s", [30, 10**9])
def test_a_request_that_needs_much_room_is_passed_but_not_for_ever(wait_s: int) -> None:
    run = Run(ToyDecoder(ToyRows(room=200)), Limits(rows=8, wait_s=wait_s))
    others = [{"prompt": [number] * 20, "at_once": 5} for number in (1, 2)]
    late = {"prompt": [3] * 180, "adapter": "a"}
    steps = steps_until_answered(run, late, others)
    assert 30 <= steps <= 30 + 10 + 16 if wait_s == 30 else steps == 379


def test_who_needs_no_slot_passes_those_who_wait_for_one() -> None:
    run = Run(ToyDecoder(bank=ToySlots(1)), Limits(rows=4, wait_s=0))
    kept = [run.submit(adapter=name, max_new_tokens=60, temperature=1, seed=3) for name in "abcd"]
    run.scheduler.step()
    base = [run.submit(max_new_tokens=3, temperature=1, seed=n) for n in range(6)]
    for _ in range(12):
        run.scheduler.step()
    assert all(map(is_answered, base))
    assert kept[0].finish is None
    run.finish()
    assert all(map(is_answered, kept))


@dataclass
class Served:
    """Tokens computed for each organisation, counted from what the decoder was given."""

    run: Run
    rows: dict[int, str] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)

    def step(self) -> None:
        run = self.run
        run.scheduler.step()
        for answer in run.scheduler._running.values():
            self.rows[answer.row] = answer.organisation
        for segment in run.decoder.steps[-1]:
            self.tokens[self.rows.get(segment.row, "?")] += len(segment.tokens)


def backlog(
    run: Run, organisation: str, kept: list[Generation], count: int, **settings: Any
) -> None:
    while sum(each.finish is None for each in kept) < count:
        kept.append(
            run.submit(organisation=organisation, temperature=1, seed=len(kept), **settings)
        )


def test_organisations_that_always_wait_are_served_the_same_number_of_tokens() -> None:
    run = Run(limits=Limits(rows=8, prefix_cache_bytes=0))
    served = Served(run)
    small: list[Generation] = []
    large: list[Generation] = []
    largest = 0
    for _ in range(800):
        # One floods with short requests, the other asks rarely more than it must, for long ones.
        backlog(run, "many", small, 60, prompt=[1] * 5, max_new_tokens=5)
        backlog(run, "few", large, 10, prompt=[2] * 100, max_new_tokens=80)
        served.step()
        largest = max(largest, abs(served.tokens["many"] - served.tokens["few"]))
    # Theorem 4.4 of the paper: twice the most that the batch can hold of one organisation.
    assert largest <= 2 * 8 * 180
    share = served.tokens["many"] / served.tokens.total()
    assert 0.45 < share < 0.55


def test_a_new_organisation_brings_no_credit_and_waits_for_no_backlog() -> None:
    run = Run(limits=Limits(rows=4, prefix_cache_bytes=0))
    served = Served(run)
    kept: dict[str, list[Generation]] = {name: [] for name in ("old", "other", "new")}
    for step in range(800):
        for name in ("old", "other"):
            backlog(run, name, kept[name], 40, max_new_tokens=8)
        if step >= 400:
            backlog(run, "new", kept["new"], 40, max_new_tokens=8)
        if step == 400:
            before = Counter(served.tokens)
        served.step()
    first = kept["new"][0]
    assert first.finish is not None  # though 80 requests were before it
    gained = {name: served.tokens[name] - before[name] for name in kept}
    assert max(gained.values()) - min(gained.values()) <= 2 * 4 * 11


def test_prompts_are_computed_in_chunks_beside_answers_within_the_budget() -> None:
    run = Run(limits=Limits(rows=8, prompt_tokens=32, gap_ratio=None, prefix_cache_bytes=0))
    running = run.submit(max_new_tokens=150, temperature=1, seed=3)
    run.scheduler.step()
    long, short = run.submit([1] * 150), run.submit([2] * 10)
    run.finish()
    assert is_answered(running) and is_answered(long) and is_answered(short)
    for segments in run.decoder.steps[1:]:
        assert sum(len(segment.tokens) for segment in segments if len(segment.tokens) > 1) <= 32
    together = run.decoder.steps[1]
    assert [len(segment.tokens) for segment in together] == [1, 22, 10]
    assert [segment.logits for segment in together] == ["last", "none", "last"]


def test_a_shared_beginning_is_computed_once_for_an_organisation_and_a_version() -> None:
    run = Run()
    beginning = [3] * 70

    def cached(organisation: str, adapter: str | None, **settings: Any) -> int:
        asked = run.submit(
            [*beginning, 4], adapter, organisation=organisation, temperature=1, **settings
        )
        run.finish()
        assert is_answered(asked)
        return asked.cached_tokens

    assert [cached("x", "a"), cached("x", "a")] == [0, 64]
    assert [cached("y", "a"), cached("x", "b"), cached("x", None)] == [0, 0, 0]
    assert cached("x", "a", use_prefix_cache=False) == 0
    assert [cached("x", None), cached("y", "a")] == [64, 64]


def test_an_answer_is_a_known_beginning_of_the_next_turn() -> None:
    run = Run()
    first = run.submit([8] * 40, max_new_tokens=60, temperature=1, seed=5)
    run.finish()
    assert len(first.tokens) > 30
    second = run.submit([*first.request.prompt, *first.tokens, 9, 9])
    run.finish()
    assert is_answered(second)
    assert second.cached_tokens == (40 + len(first.tokens)) // 32 * 32


def test_nothing_is_kept_of_requests_that_use_no_prefix_cache() -> None:
    run = Run()
    asked = run.submit([3] * 100, use_prefix_cache=False)
    run.finish()
    assert is_answered(asked)
    assert run.scheduler._prefixes.size_bytes == 0
