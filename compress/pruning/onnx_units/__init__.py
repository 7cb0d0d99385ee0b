"""Units of ONNX graphs removed, and the layers that are left refitted; neither torch nor labels are needed."""
