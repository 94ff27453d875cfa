"""Numpy in, numpy out: integer storage, observers, fidelity, statistics. No framework, no files."""
