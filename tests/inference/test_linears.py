"""A frozen linear layer gives what F.linear gives, in whatever form it is computed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modelyard.inference import linears
from modelyard.inference.linears import can_prepack, has_bf16_instructions, pack_linear

DTYPES = [torch.bfloat16, torch.float32]


@pytest.fixture(autouse=True)
def _probe_again() -> Iterator[None]:
    yield
    can_prepack.cache_clear()
    has_bf16_instructions.cache_clear()


def _layer(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(outputs)
    weight = torch.randn(outputs, inputs, generator=generator) * 0.02
    return weight.to(dtype), torch.randn(outputs, generator=generator).to(dtype)


def _rows(count: int, inputs: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(count)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (576, 1536), (50, 17)])
def test_gives_what_f_linear_gives_for_any_number_of_rows(
    dtype: torch.dtype, with_bias: bool, outputs: int, inputs: int
) -> None:
    weight, offset = _layer(outputs, inputs, dtype)
    bias = offset if with_bias else None
    linear = pack_linear(weight, bias)

    assert (linear.outputs, linear.inputs) == (outputs, inputs)
    for count in (0, 1, 2, 7, 32, 65):
        x = _rows(count, inputs, dtype)
        # A single row may have other bits in F.linear than among others.
        found, wanted = linear(x), F.linear(x.repeat(2, 1), weight, bias)[:count]
        if dtype == torch.bfloat16:
            assert torch.equal(found, wanted)
        else:
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(96, 64), (576, 1536)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_the_same_bits_whatever_rows_are_beside_it(
    outputs: int, inputs: int, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        weight, bias = _layer(outputs, inputs, torch.bfloat16)
        linear = pack_linear(weight, bias)
        if linear.form == "plain":
            pytest.skip("as torch's own product has it")
        x = _rows(40, inputs, torch.bfloat16)
        together = linear(x)
        for count in (1, 3, 16):
            assert torch.equal(linear(x[:count]), together[:count])
        assert linear(x[None, :3]).shape == (1, 3, outputs)
    finally:
        torch.set_num_threads(before)


def test_takes_strided_rows_and_more_dimensions() -> None:
    weight, _ = _layer(24, 16, torch.float32)
    linear = pack_linear(weight)
    x = _rows(6, 32, torch.float32)[:, ::2]

    torch.testing.assert_close(linear(x), F.linear(x, weight))
    assert linear(x.reshape(2, 3, 16)).shape == (2, 3, 24)


def test_weights_that_train_stay_out_of_the_graph() -> None:
    weight, _ = _layer(24, 16, torch.float32)

    linear = pack_linear(weight.requires_grad_())

    assert not linear(_rows(2, 16, torch.float32)).requires_grad


@pytest.mark.skipif(not can_prepack(torch.float32), reason="this torch has no oneDNN")
def test_is_prepacked_where_the_operators_exist() -> None:
    weight, _ = _layer(24, 16, torch.float32)

    assert pack_linear(weight).form == "prepacked"
    assert pack_linear(weight.double()).form == "plain"


@pytest.mark.skipif(not can_prepack(torch.float32), reason="this torch has no oneDNN")
def test_is_plain_where_the_operators_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, _ = _layer(24, 16, torch.float32)
    x = _rows(3, 16, torch.float32)

    monkeypatch.setattr(linears, "_FP32_ROUNDING", -1.0)
    assert pack_linear(weight).form == "plain"
    assert torch.equal(pack_linear(weight)(x), F.linear(x, weight))


def test_is_plain_where_the_operators_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    can_prepack.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    weight, _ = _layer(24, 16, torch.float32)

    assert pack_linear(weight).form == "plain"


def test_bf16_is_not_prepacked_without_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    has_bf16_instructions.cache_clear()
    can_prepack.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    weight, _ = _layer(24, 16, torch.bfloat16)

    assert pack_linear(weight).form == "plain"
