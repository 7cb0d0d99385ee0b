"""Static analysis of ONNX graphs: counts, traffic, zero channels, fused quantization."""
