"""How good an answer is: one module for each way to tell.

A scorer gets a case and an answer that somebody gave, and says a score from 0 to 1, whether that is
right, and why not. It does not know how the answer came about, or what share of them is enough.
"""
