"""`models adapters ...`: one file for each command on adapters, named like it.

Knows words typed and words shown; how anything is done, the room `adapters` knows.
"""
