"""Configs: which model answers what, at what cost, in which environment.

Owns the kinds of config and their schemas, reading with positions, overlays, and every check. It
does not know what is deployed, or how a model is called, trained or searched with.
"""
