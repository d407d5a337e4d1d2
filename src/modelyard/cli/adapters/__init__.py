"""`models adapters ...`: one file for each command on adapters, named like it.

Parses and renders; the package `adapters` does the work.
"""
