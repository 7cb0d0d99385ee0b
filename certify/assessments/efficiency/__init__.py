"""The judge: pure functions from evidence to intervals, guards, profile and letter.

No clock, no device, and no file but the edition's own constants. A certificate stores what these functions return; an
audit calls them again on the evidence file and compares.
"""
