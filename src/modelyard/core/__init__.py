"""The lowest layer: errors, the project's layout, atomic file writes, locks, local state, and text
that is safe to show.

Knows the disk, the clock and SQLite. Does not know what a model, a dataset or an adapter is.
"""
