"""The central registry: adapter versions on an object store, pushed and pulled.

Owns the layout of the store, the checks of everything read from it, pushing and pulling. Only
`push.py` and `pull.py` know projects. Does not know what a version is used for, nor which one is
active here.
"""
