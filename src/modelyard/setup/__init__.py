"""First steps: `init` makes a new project with examples, `doctor` reports what the machine can do.

Knows the project's layout, the base models and the machine. Does not know how training, evaluation
or the command line work. `starter/` holds the files of a new project; those that this repository
uses itself are links to its root, so that there is one copy of each.
"""
