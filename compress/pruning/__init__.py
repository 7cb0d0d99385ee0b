"""Pruning engines: groups of units that go together, how important they are, and the proof that removal is exact."""
