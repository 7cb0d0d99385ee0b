"""What an ONNX graph says without being run: counts, traffic, zero channels, fused quantization."""
