"""The records that packages hand to each other: which model, how good it is, how it was made.

Frozen values that read and write themselves, and the spool that records of answers are appended to.
Does not know configs, adapters or what is done with a record.
"""
