"""The command line: one file per command; each parses, calls one library function, renders.

The only room that prints. `app.py` registers the commands and holds the one error boundary,
`render.py` is the only import of rich. Modules here import typer and core at the top and the rooms
they call inside the command function, so that `models --help` stays fast.
"""
