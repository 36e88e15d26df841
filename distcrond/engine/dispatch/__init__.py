"""Which of the runs that wait may start, and where; a reason for each that may not."""
