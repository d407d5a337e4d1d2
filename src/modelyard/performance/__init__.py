"""Performance tests: a suite asked of a target, scored, judged and kept as a run.

Imports answering, monitoring, evaluation and what is below them. Does not know terminals, or how
an adapter is trained.
"""
