"""What is recorded, told on: to sinks, followers, logs and metrics."""
