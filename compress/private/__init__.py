"""Training that hides private data: differential privacy by noise on clipped gradients, and by noisy votes."""
