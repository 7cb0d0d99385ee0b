"""The maker's commands; each module's function ``command`` imports torch only when it runs."""
