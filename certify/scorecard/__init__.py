"""Points and levels over all assessments of a model, by an edition that is data, and the mark of a third party."""
