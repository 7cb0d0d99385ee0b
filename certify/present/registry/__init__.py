"""A page of certificates, which readers can search and filter, and which is complete without its script."""

from certify.present.registry.page import STATES, Entry, registry_page

__all__ = ["STATES", "Entry", "registry_page"]
