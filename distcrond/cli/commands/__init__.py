"""One file per command: options, the questions to the API, and what is shown."""
