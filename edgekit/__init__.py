"""edgekit: a Keras, PyTorch or ONNX model in, a quantized, verified and measured engine for your device out."""
