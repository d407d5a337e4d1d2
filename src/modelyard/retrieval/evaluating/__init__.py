"""The parts of an evaluation: judged sets, their corpora as indexes, and the measures of a ranking.

Does not rank: `evaluate.py` asks each side, and brings these together.
"""
