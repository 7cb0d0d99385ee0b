"""Post-training quantization: ranges found on samples, graphs made easier to round, errors corrected."""
