"""What every engine builds on: the pass protocol, targets, model statistics, the cost of a step, ONNX files."""
