"""`make bench-serve`: the service over HTTP against its bars."""
