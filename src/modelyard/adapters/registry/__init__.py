"""The central registry: adapter versions on an object store, and how they get there and here.

Owns the layout of the store and the proof of all that is read from it, pushing and pulling. Only
`push.py` and `pull.py` know projects. It does not know what a version is used for, nor which one is
active here.
"""
