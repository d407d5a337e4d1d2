"""Whether a model got better: losses and answers of base and adapter on the same rows.

Owns evaluation, scoring of answers and the statistics of differences. Does not know experiments,
and does not decide what is promoted.
"""
