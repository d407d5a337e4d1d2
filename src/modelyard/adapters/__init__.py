"""Adapters: versions that never change, the link to the active one, and their verification.

Owns models/versions/ and models/trained/, the manifests, the check of an adapter against its base,
the rows of pointer_moves and the promotion gate. Does not know how an adapter is trained, loaded or
evaluated: figures come in as plain mappings.
"""
