"""Language models behind an API: one call, its answer in pieces, and why there is none.

Owns the clients of OpenAI, Anthropic and compatible endpoints, and the classes of failures. It does
not know which model is called, or again, or what it may cost: `answering` decides that.
"""
