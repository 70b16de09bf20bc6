"""Architecture and style as tests: what no reviewer should have to look for."""
