"""Programs that torch.export wrote, read without torch."""
