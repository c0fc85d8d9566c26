"""What `cde` does: one module per command, with a function that shows its data flow. Read these first.

train: table -> contract, X, targets -> warm start, steps -> posterior     (TensorFlow)
predict: posterior, X -> Mixture per row -> samples, densities, pictures   (NumPy)

Several commands share `scoring` (scores of a table), `pictures` and `prediction_files`.
"""
