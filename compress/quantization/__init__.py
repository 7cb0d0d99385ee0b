"""Quantization: after training on ONNX files, and during training on torch modules."""
