"""The command line: one file per command; each parses, calls one library function, renders.

The only room that prints. `app.py` registers the commands and holds the one error boundary,
`render.py` is the only import of rich. Modules here import typer and core at the top and the rooms
they call inside the command function, so that `models --help` stays fast.
"""

import atexit
import gc

# Starting a command makes tens of thousands of objects that stay. Looking for garbage among them
# after every 700, as Python does by itself, takes a tenth of the time it takes to start, and a
# tenth of the check of a thousand configs.
gc.set_threshold(200_000, 20, 20)

# Nor is it worth a last look at the end, where everything is given back at once.
atexit.register(gc.freeze)
