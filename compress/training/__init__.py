"""Training: optimisation, distillation, data loading, several devices, and the training of baselines."""
