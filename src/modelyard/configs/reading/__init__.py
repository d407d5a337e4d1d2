"""Reads config files: kind and name, values with positions, overlays, references."""
