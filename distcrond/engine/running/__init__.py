"""Attempts from their intent to their end, over lives of the daemon, and what follows an end."""
