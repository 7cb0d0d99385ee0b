"""Intervals and tests that no library has: batch means, paired proportions, quantiles, ratios of paired windows."""
