"""Federated learning as an assessment: what clients and server signed, and what follows from it."""
