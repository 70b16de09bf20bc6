"""The programs in `examples/`, run as a newcomer would run them."""
