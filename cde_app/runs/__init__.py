"""The run directory: made, locked, filled, checked and opened."""
