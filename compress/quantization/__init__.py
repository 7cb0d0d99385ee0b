"""What the quantizing passes are made of: ranges found on samples, graphs made easier to round, errors corrected."""
