"""Certificates: what is signed, how it is sealed into the model, and how an outsider checks it."""
