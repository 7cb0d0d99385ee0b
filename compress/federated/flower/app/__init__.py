"""The Flower app: the package ``leanmark_bridge``, which needs Flower and the standard library alone."""
