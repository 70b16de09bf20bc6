"""What `benchmarks` says is what was measured."""
