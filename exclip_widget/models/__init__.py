"""Models: the two towers of each family of models."""
