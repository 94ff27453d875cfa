"""Which operators of a TFLite graph each delegate takes, by rules that are data.

XNNPACK is what LiteRT uses on a CPU unless told otherwise; what it leaves runs in TFLite's own kernels. The GPU delegate,
NNAPI and the Edge TPU are asked for by whoever deploys. One table each (``*.toml``), one form of a graph for what edgekit
is about to write and for any file (``network``), one reading of the rules (``judge``).
"""
