"""What raftkit costs, measured: each module is a program that prints its figure, `--json` for machines."""
