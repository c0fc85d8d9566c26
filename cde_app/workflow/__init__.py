"""What `cde` does: one module for each command, in whose function its data flow stands. Read these first.

train: table -> contract, X, targets -> warm start, steps -> posterior     (TensorFlow)
predict: posterior, X -> Mixture per row -> samples, densities, pictures   (NumPy)

`scoring` is what `train`, `evaluate` and `plot` have in common.
"""
