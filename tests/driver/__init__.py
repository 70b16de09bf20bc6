"""The parts of the driver, one by one."""
