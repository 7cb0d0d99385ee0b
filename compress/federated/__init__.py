"""Federated learning: clients that train on data of their own, a server that averages, and transports between them."""
