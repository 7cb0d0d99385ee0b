"""Statements: signed, sealed, verified, audited, countersigned; keys and trust."""
