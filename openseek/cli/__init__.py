"""The `openseek` command: thin, lazy (slow imports happen inside the commands), scriptable.

`main` holds the app, `runs` the commands about runs, `store` those about artifacts, `layers` each
layer on a folder of its own, `doctor` the checks, `display` the live view.
"""
