"""Bytes of an ONNX file: messages, content digest, external data, seal."""
