"""Audits of privacy: what attacks on a model and on twins of it find out about its training data.

An assessment of its own, beside ``privacy``: that statement is a claim of epsilon, derived from a ledger, and most
models make none. An audit is an experiment: it can be made of any model, by somebody else, at another time, and it can
refute a claim but never show one.
"""
