"""What `speed.py` measures: a module per comparison, each of which imports what it needs and no more."""
