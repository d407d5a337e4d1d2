"""Configs: which model answers what, at what cost, in which environment.

Owns the kinds of config and their schemas, reading with positions, overlays, every check, what is
deployed where, and which profile is in use. It does not know how a model is called, trained or
searched with: other rooms ask for the settings that hold (`effective.py`) and act on them.
"""
