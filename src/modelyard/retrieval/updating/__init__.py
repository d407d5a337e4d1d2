"""The steps of an update: what changed on the disk, how files are cut, and how an index takes it.

Knows one index at a time. Does not lock it, and does not know how an index keeps its rows
(`revise.py`) or how a file is cut (`reading/`).
"""
