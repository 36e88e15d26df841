"""What API and CLI may ask."""
