"""The whole product on one machine with no set-up: loopback nodes, sample jobs, and a daemon that shows its runs."""
