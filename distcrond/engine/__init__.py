"""THE SHELL: asyncio loops over ports that obey the pure rooms.

No third-party import, no adapter by name. Loop bodies are: snapshot, pure call, append, act.
"""
