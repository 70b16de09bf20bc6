"""Transports: the conformance that all share, and what each must bear besides."""
