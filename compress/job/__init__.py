"""A compression job: the recipe, the pipeline that carries it out, its workspace and its lineage."""
