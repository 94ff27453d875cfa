"""Boards that have a shell and no Python, behind a real OpenSSH server, from the command line."""
