"""Commands of the maker; the ``command`` function of each module imports torch only when it runs."""
