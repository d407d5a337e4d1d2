"""What is read and how it is cut: files found by globs, and passages with their exact lines.

`find_sources` says which files a domain has, `read_passages` what one of them says. It does not
know how passages are stored, embedded or found.
"""
