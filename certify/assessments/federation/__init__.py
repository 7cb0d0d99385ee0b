"""Federated learning as an assessment: the log signed by clients and the server, and figures derived from it."""
