"""The judge: pure functions from evidence to intervals, guards, profile and letter.

They use no clock, no device and no file except the edition's constants. A certificate stores what these functions
return; an audit calls them again on the evidence file and compares.
"""
