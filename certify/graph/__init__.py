"""Reading ONNX graphs without running them: loading, counting, and what the guards want to know of the structure."""
