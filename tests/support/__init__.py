"""Support for the tests: the zoo of models, the oracle, snapshots, widgets, servers and browsers."""
