"""Intervals and tests not found in libraries: batch means, paired proportions, quantiles, paired ratios."""
