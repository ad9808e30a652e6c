"""Rows of the registry: what is particular to each model, one file per family."""
