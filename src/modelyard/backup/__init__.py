"""Snapshots of a project in a repository on any object store: made, verified, restored, pruned.

docs/backup-format.md describes what is stored. Knows where a project keeps things and what of them
is left out; does not know terminals.
"""
