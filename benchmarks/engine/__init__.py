"""The engine against its bars: `make bench-engine`."""
