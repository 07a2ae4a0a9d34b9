"""What the tests stand on: the zoo of models, the oracle, snapshots, widgets, and servers and browsers."""
