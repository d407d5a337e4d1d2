"""Times of all linear layers of a base, in each form, by the number of rows: `linears.py`'s choice.

    python -m benchmarks.linears
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.linears   # an older CPU

Random weights in the shapes of the embedded base: per layer q, k and v stacked, o, gate and up
stacked, down; then the output head. A layer's weights come from memory each time, as they do in a
step. Best of interleaved repeats; compare columns of one run only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from modelyard.core.processor import cpu_name
from modelyard.inference.four_bit import Grid, GridNotUsed, pack_four_bit
from modelyard.inference.linears import pack_linear
from modelyard.inference.machine import usable_threads

HIDDEN, INNER, KEYS, VOCABULARY, LAYERS = 576, 1536, 192, 49152, 30
LAYER = [(HIDDEN + 2 * KEYS, HIDDEN), (HIDDEN, HIDDEN), (2 * INNER, HIDDEN), (HIDDEN, INNER)]
ROWS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 64)

Linear = Callable[[Tensor], Tensor]


@dataclass
class Form:
    """One way to compute all layers."""

    name: str
    dtype: torch.dtype
    layers: list[tuple[int, Linear]]
    head: Linear | None
    best_s: float = field(default=float("inf"))
    best_head_s: float = field(default=float("inf"))

    def run(self, rows: int) -> None:
        inputs = {width: torch.ones(rows, width, dtype=self.dtype) for width in (HIDDEN, INNER)}
        started = time.perf_counter()
        for width, linear in self.layers:
            linear(inputs[width])
        layers_s = time.perf_counter() - started
        self.best_s = min(self.best_s, layers_s)
        if self.head is not None:
            self.head(inputs[HIDDEN])
            head_s = time.perf_counter() - started - layers_s
            self.best_head_s = min(self.best_head_s, head_s)


def random_grid(outputs: int, inputs: int) -> Grid:
    scale = torch.rand(outputs, inputs // 32) * 0.01
    levels = torch.randint(0, 16, (outputs, inputs), dtype=torch.uint8)
    return Grid(levels, scale, -8 * scale)


def build_forms() -> list[Form]:
    grids = [random_grid(*shape) for shape in LAYER * LAYERS]
    weights = [grid.values().to(torch.bfloat16) for grid in grids]
    head = torch.randn(VOCABULARY, HIDDEN).to(torch.bfloat16)
    forms = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        cast = [weight.to(dtype) for weight in weights]
        table = head.to(dtype)
        forms.append(
            Form(
                name,
                dtype,
                [(len(w.T), lambda x, w=w: F.linear(x, w)) for w in cast],
                lambda x, w=table: F.linear(x, w),
            )
        )
        packed = [pack_linear(weight) for weight in cast]
        if packed[0].form == "prepacked":
            layers = [(linear.inputs, linear) for linear in packed]
            forms.append(Form(f"{name} prepacked", dtype, layers, pack_linear(table)))
        try:
            four_bit = [pack_four_bit(*pair) for pair in zip(grids, cast, strict=True)]
        except GridNotUsed as reason:
            print(f"four bits, {name}: {reason}")
        else:
            layers = [(len(w.T), linear) for w, linear in zip(cast, four_bit, strict=True)]
            forms.append(Form(f"four bits, {name}", dtype, layers, None))
    return forms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(usable_threads())
    print(f"{cpu_name()}, {torch.get_num_threads()} threads")
    forms = build_forms()
    print("milliseconds: all layers + head")
    print(f"{'rows':>5}", *(f"{form.name:>20}" for form in forms))
    for rows in options.rows:
        for form in forms:
            form.best_s = form.best_head_s = float("inf")
        for _ in range(options.repeats):
            for form in forms:
                form.run(rows)
        cells = []
        for form in forms:
            head = f" + {form.best_head_s * 1e3:4.1f}" if form.head else ""
            cells.append(f"{form.best_s * 1e3:.1f}{head}")
        print(f"{rows:>5}", *(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
