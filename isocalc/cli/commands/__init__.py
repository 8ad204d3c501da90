"""One file a command of ``isocalc``: its options, stacked, and the order of its work."""
