"""MEMORY ON DISK: the SQLite journal and the history read from it.

Knows ports, model and errors; knows nothing of the engine that appends, nor of the API that asks.

codec       events, jobs and documents ⇄ stored JSON, with versions and upcasters
database    the file: modes, exclusive ownership, migrations, connections
statements  many rows by one statement
transaction one transaction, and what a full disk does to it
writer      rows with names → rows with numbers, one transaction
ledger      rows → the engine's memory
prepare     a batch → rows with names
recent      short output, until it is indexed
text        full-text search over output: what is indexed, when, and how it is found again
expiry      what is too old leaves, step by step
questions   what can be asked, over a connection
period      what there was of each job between two instants
query       a RunQuery → SQL and its cursor
sqlite      the Journal port: queue, writer thread, acknowledgements
history     the History port: read-only connections in threads
"""
