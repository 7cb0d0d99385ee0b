"""Effect of compression on groups of people: error rates before and after, from tables that identify nobody."""
