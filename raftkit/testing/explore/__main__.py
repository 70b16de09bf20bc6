"""`python -m raftkit.testing.explore`."""

import sys

from raftkit.testing.explore.command import main

if __name__ == "__main__":
    sys.exit(main())
