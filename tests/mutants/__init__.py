"""Deliberate mistakes, and the proof that the tests notice each: `python -m tests.mutants`."""
