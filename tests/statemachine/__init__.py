"""Machines without a node: declaration, codecs, context."""
