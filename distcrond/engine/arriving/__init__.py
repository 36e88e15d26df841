"""What is due: schedules, chains and requests become runs that wait, or gap records."""
