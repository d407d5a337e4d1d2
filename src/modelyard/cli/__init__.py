"""The command line: one module per command, or for a few that belong together.

A command parses, calls the library, and renders; this is the only package that prints. `app.py`
registers the commands and holds the one error boundary, `render.py` is the only import of rich.
What is slow to load is imported inside the functions, so that `models --help` stays fast.
"""

import atexit
import gc

# Starting a command makes tens of thousands of objects that stay alive. Collecting garbage after
# every 700 new objects, as Python does by default, takes a tenth of the start-up time, and a tenth
# of the check of a thousand configs.
gc.set_threshold(200_000, 20, 20)

# A last collection at exit is not worth its time either: all memory is freed at once.
atexit.register(gc.freeze)
