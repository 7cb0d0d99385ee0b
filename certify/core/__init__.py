"""What every other package builds on: plain types and helpers without a clock, a device or a network."""
