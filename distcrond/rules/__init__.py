"""WHETHER, pure: overlap, start deadlines, and what an exit means. Values in, decisions with reasons out."""
