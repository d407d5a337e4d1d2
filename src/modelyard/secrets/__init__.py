"""Secrets in text: finding them by form, by name and by randomness, and masking them.

Does not know what a config, a chunk or a dataset is, nor where a text came from.
"""
