"""ONNX files on disk and ONNX graphs in memory: read, edited, run and written."""
