"""One folder per assessment; none knows another."""
