"""From torch to files and back: the ONNX export with its parity gate, and checkpoints."""
