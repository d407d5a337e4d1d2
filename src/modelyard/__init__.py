"""modelyard: the whole life of an organisation's own language models, as one command (`models`).

The map of the rooms is docs/architecture.md. Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
