"""A model's file: digests, graph facts, external data, preprocessing contract, seal, normal form."""
