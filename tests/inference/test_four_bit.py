"""A layer computed from its four-bit integers is the layer, and is not used for another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modelyard.inference import linears
from modelyard.inference.four_bit import BaseGrid, Grid, GridNotUsed, pack_four_bit
from modelyard.inference.linears import four_bit_rows, pack_linear
from modelyard.weights.grid import Blocks, write_grid


@pytest.fixture(autouse=True)
def _four_bits_for_four_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linears, "four_bit_rows", lambda _: 4)


def _grid(outputs: int, inputs: int) -> Grid:
    generator = torch.Generator().manual_seed(outputs)
    scale = torch.rand(outputs, inputs // 32, generator=generator).half().float() * 0.01
    levels = torch.randint(0, 16, (outputs, inputs), generator=generator, dtype=torch.uint8)
    return Grid(levels, scale, -7.25 * scale)


def _rows(count: int, inputs: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(count)).to(dtype)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_blocks_give_the_weights_that_gguf_reads_from_them(tmp_path: Path, kind: str) -> None:
    from gguf import GGMLQuantizationType, dequantize, quantize

    numbers = np.random.default_rng(0)
    made = {name: numbers.normal(size=(6, 64)).astype(np.float32) for name in ("q", "k")}
    packed = {name: quantize(values, GGMLQuantizationType[kind]) for name, values in made.items()}
    write_grid(
        tmp_path,
        {name: Blocks(kind, data.reshape(6, 2, -1)) for name, data in packed.items()},
    )

    base_grid = BaseGrid.load(tmp_path)

    stacked = base_grid.stacked(["k", "q"])
    assert stacked is not None
    wanted = [dequantize(packed[name], GGMLQuantizationType[kind]) for name in ("k", "q")]
    assert np.array_equal(stacked.values().numpy(), np.concatenate(wanted))
    assert base_grid.stacked(["k", "v"]) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("with_bias", [False, True])
def test_few_rows_come_from_the_grid_and_many_from_the_weights(
    dtype: torch.dtype, with_bias: bool
) -> None:
    grid = _grid(96, 64)
    weight = grid.values().to(torch.bfloat16).to(dtype)
    bias = torch.ones(96, dtype=dtype) if with_bias else None
    linear, alone = pack_linear(weight, bias, grid=grid), pack_linear(weight, bias)

    assert linear.no_grid is None and linear.four_bit_rows == 4
    assert alone.four_bit_rows == 0
    for count in (1, 4, 5, 20):
        x = _rows(count, 64, dtype)
        assert linear(x).dtype == dtype
        assert torch.equal(linear(x), alone(x)) == (count > 4)
        torch.testing.assert_close(linear(x), alone(x), rtol=0.02, atol=0.02)


def test_products_of_the_grid_are_as_near_to_fp32_as_those_of_bf16() -> None:
    grid = _grid(192, 576)
    weight = grid.values().to(torch.bfloat16)
    x = _rows(4, 576, torch.bfloat16)
    exact = x.double() @ grid.values().double().T

    def error(found: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    assert error(pack_linear(weight, grid=grid)(x)) <= 1.2 * error(pack_linear(weight)(x))


def test_a_row_from_the_grid_is_the_same_bits_whatever_rows_are_beside_it() -> None:
    grid = _grid(96, 64)
    linear = pack_linear(grid.values().to(torch.bfloat16), grid=grid)
    x = _rows(4, 64, torch.bfloat16)

    together = linear(x)

    for count in (1, 2, 3):
        assert torch.equal(linear(x[:count]), together[:count])


def test_the_grid_of_another_weight_is_not_used() -> None:
    grid = _grid(32, 64)
    weight = grid.values().to(torch.bfloat16)
    weight[31, 63] *= 1.01

    linear = pack_linear(weight, grid=grid)

    assert linear.four_bit_rows == 0
    assert linear.no_grid == "the integers kept beside the weights give other weights"
    assert pack_linear(weight[:16], grid=grid).four_bit_rows == 0


def test_a_grid_is_not_used_where_the_kernel_is_not_fit_or_not_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = _grid(24, 64)
    weight = grid.values().to(torch.bfloat16)
    with pytest.raises(GridNotUsed, match="24 outputs are no multiple of 16"):
        pack_four_bit(grid, weight)

    monkeypatch.setattr(linears, "four_bit_rows", lambda _: 0)
    linear = pack_linear(weight, grid=grid)
    assert (linear.four_bit_rows, linear.no_grid) == (0, None)


def test_fp32_is_computed_from_the_grid_only_where_bf16_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {}
    for kind in ("avx512_bf16", "amx_bf16", "avx2", "sse4_2"):
        linears.has_bf16_instructions.cache_clear()
        able = {kind: True, "avx2": kind != "sse4_2"}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        rows = four_bit_rows.__wrapped__
        found[kind] = (rows(torch.bfloat16), rows(torch.float32))
    linears.has_bf16_instructions.cache_clear()

    assert found == {"avx512_bf16": (8, 0), "amx_bf16": (8, 0), "avx2": (8, 8), "sse4_2": (0, 0)}


def test_a_kernel_that_takes_the_integers_in_another_order_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = _grid(32, 64)
    swapped = Grid(grid.levels.flip(1), grid.scale, grid.offset)
    other = pack_four_bit(swapped, swapped.values())
    monkeypatch.setattr(linears, "pack_four_bit", lambda *_: other)

    linear = pack_linear(grid.values().to(torch.bfloat16), grid=grid)

    assert linear.four_bit_rows == 0
    assert linear.no_grid == "the kernel for four bits gives other products here"
