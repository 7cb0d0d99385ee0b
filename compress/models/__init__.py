"""Building models by name, reading their weights, and wrapping them so that all take and give the same shapes."""
