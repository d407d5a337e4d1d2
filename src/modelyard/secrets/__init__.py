"""Secrets: finding and masking them in text, and reading those that a config refers to.

Does not know what a config, a chunk or a dataset is, nor where a text came from.
"""
