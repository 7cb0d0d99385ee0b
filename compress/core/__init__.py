"""Foundations of every engine: the pass protocol, targets, model statistics, step costs, ONNX files."""
