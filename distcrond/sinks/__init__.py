"""WHERE REPORTS GO besides the journal. Derived data: it may be deleted and refilled from the journal at any time.

Knows ports, model and errors; knows nothing of the journal it is filled from, nor of the engine's loops.

lines          stored pieces of output → lines
words          what full-text search finds, the same in Elasticsearch as in the journal
documents      reports → the documents of CONTRACT §4, pure
bulk           documents → bulk requests of bounded size, and what the answer says of each item
compat         a client of one major talking to a server of another
elasticsearch  the Sink port on Elasticsearch
retention      which indices and documents are too old
search         a RunQuery → the same question to Elasticsearch
templates/     index templates
jsonl          the Sink port on files of JSON lines
"""
