"""`models feedback ...`: one file for each command on recorded feedback, named like it.

Knows words typed and words shown; what feedback is, the room `chatdata` knows.
"""
