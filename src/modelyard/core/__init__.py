"""The ground floor: errors, the project's layout, files that are never half written, local state,
and text in a form that is safe to show.

Knows the disk, the clock and SQLite. Does not know what a model, a dataset or an adapter is.
"""
