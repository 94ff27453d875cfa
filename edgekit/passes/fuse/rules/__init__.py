"""The rules of fusing, one a file; :mod:`edgekit.passes.fuse.table` lists them in order."""
