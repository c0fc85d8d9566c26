"""Pictures and the one-page report."""
