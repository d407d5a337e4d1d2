"""Retrieval: indexes over an organisation's documents, code and logs, and the search in them.

Owns what is read and how it is cut, the vectors and the words of every chunk, keeping an index in
step with its files, ranking and its measure. It does not know who asks, nor what is done with the
results.
"""
