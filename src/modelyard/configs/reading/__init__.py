"""What config files say: their kind and name, values with positions, overlays, what they name."""
