"""cron for a cluster, from files, over SSH, with a memory. The map of this package is README.md beside this file."""

__version__ = "0.1.0"
