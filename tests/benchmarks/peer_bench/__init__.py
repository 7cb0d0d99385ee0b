"""Parts of the benchmark peers.py: models, makers, scores, times, verdicts, pages."""
