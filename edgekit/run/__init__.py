"""The room that travels: opens an engine on the device it was made for, runs it and times it.

It is copied to the device as the folder ``edgekit_run`` and started there with ``python -m edgekit_run.agent job.json
result.json``; bundles are installed there by ``python -m edgekit_run.apps``. It imports nothing else of edgekit, keeps to the grammar of Python 3.8 and needs numpy only where the
runtime's own Python API does.
"""
