"""One base model in memory: loading, generation, losses of given rows.

Owns how weights come into memory and what the machine can do. Does not know experiments, versions
or how a model is trained. Imports torch and transformers.
"""
