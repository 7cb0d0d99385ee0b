"""What every floor above may use: estimates, evidence records, errors, files, folders, progress, schemas."""
