"""Robustness: common corruptions, and adversarial witnesses that anybody can check and add to."""
