"""modelyard: the whole life of an organisation's own language models, as one command (`models`).

docs/architecture.md describes the packages. Importing this one imports nothing heavy.
"""

__version__ = "0.1.0"
