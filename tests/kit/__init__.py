"""The testing kit that users get: what it must find, and what it must let pass."""
