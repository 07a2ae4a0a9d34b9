"""Tiny random models of the real classes, and what they are explained on; one zoo for all tests."""
