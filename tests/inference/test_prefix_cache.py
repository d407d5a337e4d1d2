"""Beginnings are found by their tokens, within an organisation and a version, in bounded memory."""

from __future__ import annotations

import random

from toy_decoder import ToyRows

from modelyard.inference.prefix_cache import PrefixCache, Scope

SCOPE = Scope("x", "sha256:a")


def kept(cache: PrefixCache, rows: ToyRows, scope: Scope, tokens: list[int]) -> None:
    row = rows.allocate(len(tokens))
    assert row is not None
    rows.rows[row] = [(token, scope.digest) for token in tokens]
    cache.keep(scope, tokens, row)
    rows.release(row)


def restored(cache: PrefixCache, rows: ToyRows, scope: Scope, tokens: list[int]) -> int:
    row = rows.allocate(len(tokens))
    assert row is not None
    count = cache.restore(scope, tokens, row)
    assert rows.rows[row] == [(token, scope.digest) for token in tokens[:count]]
    rows.release(row)
    return count


def test_the_longest_known_beginning_is_restored_but_never_the_whole_prompt() -> None:
    rows = ToyRows()
    cache = PrefixCache(rows, limit_bytes=10**6)
    tokens = [*range(40), *range(60)]
    kept(cache, rows, SCOPE, tokens)
    assert restored(cache, rows, SCOPE, [*tokens, 1]) == 96
    assert restored(cache, rows, SCOPE, tokens[:96]) == 64
    assert restored(cache, rows, SCOPE, [*tokens[:70], 99, 99]) == 64
    assert restored(cache, rows, SCOPE, [99, *tokens]) == 0
    assert restored(cache, rows, SCOPE, tokens[:20]) == 0


def test_nothing_is_shared_between_organisations_or_versions() -> None:
    rows = ToyRows()
    cache = PrefixCache(rows, limit_bytes=10**6)
    kept(cache, rows, SCOPE, [1] * 70)
    for scope in (Scope("y", "sha256:a"), Scope("x", "sha256:b"), Scope("x", None)):
        assert restored(cache, rows, scope, [1] * 70) == 0
    kept(cache, rows, Scope("y", "sha256:a"), [1] * 70)
    cache.drop("sha256:b")
    assert restored(cache, rows, SCOPE, [1] * 70) == 64
    cache.drop("sha256:a")
    assert restored(cache, rows, SCOPE, [1] * 70) == 0
    assert cache.size_bytes == 0


def test_a_shared_beginning_is_kept_once() -> None:
    rows = ToyRows()
    cache = PrefixCache(rows, limit_bytes=10**6)
    for own in range(10):
        kept(cache, rows, SCOPE, [*[1] * 64, *[own] * 32])
    assert cache.size_bytes == (2 + 10) * 32 * 100


def test_memory_is_bounded_and_every_block_that_is_kept_can_be_reached() -> None:
    chosen = random.Random(2)
    rows = ToyRows()
    cache = PrefixCache(rows, limit_bytes=20 * 32 * 100)
    scopes = [Scope(organisation, digest) for organisation in "xy" for digest in (None, "a")]
    for _ in range(2000):
        scope = chosen.choice(scopes)
        # Few different blocks, so that many beginnings are shared.
        tokens = [chosen.randrange(2) for _ in range(chosen.randint(0, 5)) for _ in range(1)]
        row = [token for token in tokens for _ in range(32)] + [3] * chosen.randint(1, 30)
        if chosen.random() < 0.6:
            kept(cache, rows, scope, row)
        else:
            restored(cache, rows, scope, row)
        assert cache.size_bytes == len(cache._blocks) * 32 * 100 <= 20 * 32 * 100
        numbers = {block.number for block in cache._blocks.values()}
        assert all(before in numbers or isinstance(before, Scope) for before, _ in cache._blocks)


def test_the_least_recently_used_is_dropped_from_its_end() -> None:
    rows = ToyRows()
    cache = PrefixCache(rows, limit_bytes=6 * 32 * 100)
    one, two, three = [1] * 97, [2] * 97, [3] * 65
    kept(cache, rows, SCOPE, one)
    kept(cache, rows, SCOPE, two)
    assert restored(cache, rows, SCOPE, one) == 96
    kept(cache, rows, SCOPE, three)
    assert restored(cache, rows, SCOPE, one) == 96
    assert restored(cache, rows, SCOPE, two) == 32
    assert restored(cache, rows, SCOPE, three) == 64


def test_a_beginning_larger_than_the_memory_is_kept_as_far_as_it_goes() -> None:
    rows = ToyRows(longest=1000)
    cache = PrefixCache(rows, limit_bytes=3 * 32 * 100)
    kept(cache, rows, SCOPE, list(range(500)))
    assert restored(cache, rows, SCOPE, list(range(500))) == 96
    nothing = PrefixCache(rows, limit_bytes=0)
    kept(nothing, rows, SCOPE, [1] * 70)
    assert restored(nothing, rows, SCOPE, [1] * 70) == nothing.size_bytes == 0
