"""The steps of an update: what changed on the disk, reading files into chunks, and what is written.

Handles one index at a time. Does not lock it, and does not know how an index stores its rows
(`index_writer.py`) or how a file is split (`reading/`).
"""
