"""Where a training starts: from the warm start to a `ModelStart`."""
