"""Everything that can happen to a small group within bounds (`docs/exploration.md`).

group    breadth first over all that may happen next
server   one server as a value: what it is, what may happen to it, and what follows
laws     what must hold in every state
command  `python -m raftkit.testing.explore`
"""

from raftkit.testing.explore.group import Bounds, Explorer, Found, NoSuchStep, Violation

__all__ = ["Bounds", "Explorer", "Found", "NoSuchStep", "Violation"]
