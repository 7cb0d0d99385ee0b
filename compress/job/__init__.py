"""Compression jobs: the recipe, the pipeline that runs it, its workspace and its lineage."""
