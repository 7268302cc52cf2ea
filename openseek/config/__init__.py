"""Configuration: frozen pydantic sections, one file a step, and how they are read.

`base` holds what sections are built from, `pipeline` gathers them, `load` reads YAML with
`extends`, includes and `--set`; `presets/` are mixtures by name.
"""
