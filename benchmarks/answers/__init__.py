"""Answers against their bars, with the real clients and a provider on loopback."""
