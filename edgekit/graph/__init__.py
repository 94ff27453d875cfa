"""What every pass needs to know of an ONNX graph: read and write it, its shapes, its signature, its costs, and how to run it."""
