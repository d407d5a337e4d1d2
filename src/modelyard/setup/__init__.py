"""What greets a newcomer: a new project with one example of everything, and a look at the machine.

Knows the project's layout, the base models and what the machine can do. Does not know how training,
evaluation or the command line work. `starter/` holds the files of a new project; those that this
repository uses itself are links to its root, so that there is one copy of each.
"""
