"""The bytes of an ONNX file: messages, content digest, external data, seal."""
