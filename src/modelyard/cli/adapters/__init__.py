"""`models adapters ...`: the commands on adapters.

Each parses and renders; the package `adapters` does the work.
"""
