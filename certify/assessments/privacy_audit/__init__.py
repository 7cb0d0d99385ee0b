"""Audits of privacy: findings of attacks on a model, and on twins of it, about the training data.

They are separate from ``privacy``, which states a claim of epsilon derived from a ledger; most models make none. An
audit is an experiment that anybody can carry out on any model, at any time. It can refute a claim of epsilon, but never
prove one.
"""
