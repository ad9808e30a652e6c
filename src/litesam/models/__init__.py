"""Networks, the registry of models and their weights: torch only, no image coordinates."""
