"""Tiny random models of the real classes, and inputs for them, shared by all tests."""
