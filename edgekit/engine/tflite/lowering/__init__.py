"""From ONNX's operations to TFLite's, one family a file, all of them in the one table of ``table.py``."""
