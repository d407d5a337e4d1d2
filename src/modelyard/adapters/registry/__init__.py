"""The central registry: adapter versions on an object store, and how they get there and here.

Owns the layout of the store and the proof of all that is read from it, pushing and pulling. Only
`remote.py` knows object stores, and only `push.py` and `pull.py` know yards. It does not know what
a version is used for, nor which one is in use here.
"""
