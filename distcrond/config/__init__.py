"""FILES → Catalog, and flags, environment and settings file → Settings. Synchronous, without any knowledge of tasks.

    load.py          both directories → Loaded         check.py     the same, for people
      discover.py      which files there are             files.py     which of them may be trusted
      compile.py       one file → definitions, problems  assemble.py  all of them together; the last good version stays
        document.py      bytes → data with places        json_text.py, yaml12.py, marks.py
        boards.py        a crontab → data of many jobs   defaults.py  `_defaults` laid under a definition
        validate.py      data → what the schema objects  schema_files.py, schema/*.json
        parse_*.py       validated data → model          reader.py    key by key, all faults at once
    settings.py      Settings with the origin of each    flags.py     the command line
    faults.py        FileFault (line), Finding (pointer) → Problem    limits.py  how much is too much

A new key: schema/job.json (or node.json), the parser of its kind, the model, a line in tests/core/test_config_job.py.
A key of the contract whose feature does not exist yet stands in the schema's `x-planned` and is refused, never ignored.
"""
