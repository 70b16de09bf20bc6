"""The tests of raftkit, a folder for each floor; `house` holds architecture and style."""
