"""Scenarios as text, and the tests that play them."""
