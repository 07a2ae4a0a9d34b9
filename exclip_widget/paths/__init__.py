"""Paths: derivatives of a module cut at a layer, along the way from a reference to an input."""
