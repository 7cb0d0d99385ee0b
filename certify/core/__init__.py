"""Common base of all packages: estimates, evidence records, errors, files, folders, progress, schemas."""
