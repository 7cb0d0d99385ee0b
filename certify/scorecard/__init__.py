"""Points and levels over all assessments of a model, by rules that are data, and the mark of a certification scheme."""
