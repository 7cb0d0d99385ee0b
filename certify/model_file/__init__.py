"""Model files: digests, graph facts, external data, preprocessing contract, seal, normal form."""
