"""Nodes as their users see them: over the memory network, in virtual time where no file is involved."""
