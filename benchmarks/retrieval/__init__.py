"""Retrieval measured against its bars: `make bench-retrieval`; one module a measure.

Each runs alone too (`python -m benchmarks.retrieval.cold`), on generated files in a folder of its
own. Public sets in BEIR's layout and the peer's interpreter are given by path; what is not given is
left out, and said so. The encoder must be in the cache: `models update-embeddings` puts it there.
"""
