"""Statements: signed, sealed, verified, audited and countersigned; keys and trust."""
