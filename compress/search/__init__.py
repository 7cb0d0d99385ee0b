"""Recipe search: a study of trials on validation data, and the certified best recipe."""
