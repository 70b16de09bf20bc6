"""The core through its doors: what no rule of the paper says, and must hold all the same."""
