"""`distcronctl`: talks to the API over its socket and shows what it says (CONTRACT §1).

Imports click and the standard library, never a room of the daemon, and loads only the command that was asked for: help
answers in a blink. Data goes to stdout, talk to stderr. `main` knows the commands, `commands/` has one file for each,
`show/` turns documents into text, `client` speaks HTTP.
"""
