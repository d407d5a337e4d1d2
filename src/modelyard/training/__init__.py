"""From a dataset to a registered adapter: spec, preflight, the run, resume, the report.

Owns the training path. Does not know the terminal (it reports to a `Progress`) and does not decide
which version is active beyond asking for a promotion. `run.py` is the path from end to end.
"""
