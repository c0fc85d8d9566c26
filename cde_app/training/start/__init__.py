"""The starting point of a training: from the warm start to a `ModelStart`."""
