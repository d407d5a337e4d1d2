"""One base model in memory: loading, generation, losses of given rows.

Owns how weights come into memory and what the machine can do. Does not know experiments, versions
or how a model is trained. Imports torch and transformers.
"""

from __future__ import annotations

import os

KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Variables that say how many compiled kernels oneDNN keeps, and how many torch keeps of them."""
_KEPT_KERNELS = "96"

# In bf16 each shape of a matrix product gets a kernel of its own of more than 1 MB, of which 1,024
# are kept: batches of different sizes took 1.3 GB in 125 steps. A training step needs 20 to 40, and
# what an earlier shape left behind is seldom wanted again. Both are read when torch is loaded.
for _name in KERNEL_CACHES:
    os.environ.setdefault(_name, _KEPT_KERNELS)
