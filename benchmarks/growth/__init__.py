"""Whether raftkit stays as quick as it began.

directories  data directories as a group leaves them, made without the group
"""
