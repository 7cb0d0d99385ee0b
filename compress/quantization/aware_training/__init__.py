"""Quantization-aware training: fake quantizers in a torch module, and its export to integers."""
