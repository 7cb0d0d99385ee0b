"""The assessments, a folder each; none imports another (what they have in common is in :mod:`certify.assessment`)."""
