"""report.html: what a run was and what came of it, as one self-contained page.

Owns the page, its charts and its words. Knows neither the disk nor torch; `page.py` is the way in.
"""
