"""One answer, as the configs say: who gives it, in what time, at what cost, and who else if not.

Owns routes, attempts, breakers, limits, budgets, retrieval for an answer, and its cache. It does
not know how a provider is called, how a model is loaded or an index searched, or who shows it.
"""
