"""Prefect tasks: one a step, with tags, retries, progress and artifacts; no algorithm.

`binding` makes a task of a step, `telemetry` shows it in the UI; the other files list the tasks.
"""
