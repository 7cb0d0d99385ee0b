"""The assessments: one room each, and the form that all of them have.

:mod:`certify.assessments.assessment` is the protocol, :mod:`certify.assessments.registry` the list of the rooms.
"""
