"""What `--json` prints: frozen dataclasses as JSON, and the JSON Schema and the shape of each.

Does not know which commands there are, or what they do.
"""
