"""How the shipped weights are made: data, targets, losses, the training loop. Nothing that
inference needs.
"""
