"""The file that reads the real clock."""
