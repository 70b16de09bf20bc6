"""Whole groups of cores in virtual time: hundreds of seeds, their reproducibility, and canaries."""
