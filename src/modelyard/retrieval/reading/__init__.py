"""What is read and how it is cut: files found by globs, and chunks with their exact lines.

`find_sources` says which files an index has, `read_chunks` what one of them says. It does not
know how chunks are stored, embedded or found.
"""
