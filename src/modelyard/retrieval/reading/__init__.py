"""Reading files into chunks: the files that globs match, and their chunks with exact line numbers.

`find_sources` lists the files of an index, `read_chunks` gives the chunks of one of them. This
package does not know how chunks are stored, embedded or found.
"""
