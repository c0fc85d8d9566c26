"""From a table to standardised arrays: read, check, encode, transform, split. The only folder that knows pandas."""
