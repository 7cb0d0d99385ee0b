"""A page of certificates: searched and filtered in the reader's browser, and complete without any script."""

from certify.present.registry.page import STATES, Entry, registry_page

__all__ = ["STATES", "Entry", "registry_page"]
