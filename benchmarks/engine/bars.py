"""The bars of the engine. The prototype's figures are of two cores of a Xeon with AMX, no 4-bit."""

from __future__ import annotations

from benchmarks.engine.speed import Case, Ratio
from benchmarks.engine.table import Bar

MIXED_ADAPTERS = 8
RESIDENT_ADAPTERS = 64

RATIOS = (
    Ratio(
        Bar(
            what="8 adapters mixed ÷ transformers base, at 8",
            prototype="0.97",
            least=0.95,
            goal=1.2,
        ),
        Case("engine", "8 adapters", 8),
        Case("transformers", "base", 8),
    ),
    Ratio(
        Bar(what="the same ÷ PEFT with 8 mixed adapters", prototype="about 5", least=4),
        Case("engine", "8 adapters", 8),
        Case("PEFT", "8 adapters", 8),
    ),
    Ratio(
        Bar(what="the same ÷ vLLM on CPU with these adapters", prototype="", least=1.5),
        Case("engine", "8 adapters", 8),
        Case("vLLM", "8 adapters", 8),
    ),
    Ratio(
        Bar(
            what="1 adapter ÷ transformers base, at 8",
            prototype="1.13 to 1.38",
            least=1.2,
        ),
        Case("engine", "1 adapter", 8),
        Case("transformers", "base", 8),
    ),
    *(
        Ratio(
            Bar(what=f"base ÷ transformers base, at {rows}", prototype=prototype, least=least),
            Case("engine", "base", rows),
            Case("transformers", "base", rows),
        )
        for rows, prototype, least in ((8, "1.66 to 1.9", 1.7), (4, "", 2.2), (1, "1.5 to 1.6", 3))
    ),
    Ratio(
        Bar(what="8 adapters ÷ 1 adapter, at 8", prototype="0.86", least=0.85),
        Case("engine", "8 adapters", 8),
        Case("engine", "1 adapter", 8),
    ),
    Ratio(
        Bar(what="16 ÷ 8 rows, 8 adapters", prototype="1.6", least=1.5),
        Case("engine", "8 adapters", 16),
        Case("engine", "8 adapters", 8),
    ),
    Ratio(
        Bar(
            what="1 adapter ÷ PEFT's generate, at 1",
            prototype="1.4",
            least=2.5,
            goal=4,
        ),
        Case("engine", "1 adapter", 1),
        Case("PEFT", "1 adapter", 1),
    ),
    Ratio(
        Bar(what="base ÷ llama.cpp with the same GGUF, at 1", prototype="", least=0.6, goal=1),
        Case("engine", "base", 1),
        Case("llama.cpp", "base", 1),
    ),
)

BESIDE = (
    Case("PEFT", "1 adapter", 8),
    Case("engine", "base", 16),
    Case("llama.cpp with the adapter", "1 adapter", 1),
    Case("vLLM", "base", 8),
    Case("vLLM", "1 adapter", 1),
)
"""Measured in the same rounds without a bar of their own."""

RESIDENT = Ratio(
    Bar(what="base rows with 64 adapters resident ÷ without any, at 8", prototype="", least=0.97),
    Case("engine with 64 adapters", "base", 8),
    Case("engine without adapters", "base", 8),
)
RESIDENT_MEMORY = Bar(
    what="64 adapters on one base, memory above base + 1.3 × their bytes",
    prototype="",
    most=300,
    unit="MB",
)
LONGEST_GAP = Bar(
    what="longest gap while a prompt of 1,024 joins 8 answers ÷ median step",
    prototype="about 10",
    most=2.5,
)
JOINED_FIRST_TOKEN = Bar(
    what="that prompt's first token ÷ the same with nothing else running", prototype="", most=2.5
)
COLD_ADAPTER = Bar(
    what="first token with a cold adapter (20 MB, digest checked) after that with a warm one",
    prototype="20 to 25 ms load",
    most=100,
    unit="ms",
)
EVALUATE = Bar(what="`models evaluate` of 1,000 labelled rows ÷ before", prototype="", least=4)
