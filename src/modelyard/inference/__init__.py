"""One base model in memory and what is asked of it: loading, generation, losses of given rows.

Owns how weights come into memory and what the machine can do. Does not know experiments, versions
or how a model is trained. Imports torch and transformers.
"""
