"""Removal of units from ONNX graphs, and refitting of the remaining layers, without torch or labels."""
