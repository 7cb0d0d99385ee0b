"""The judge: pure functions from evidence to intervals, guards, profile and letter.

No clock, no device, no file but the edition's own data. A certificate stores what these functions returned; an audit
calls them again on the evidence file and compares.
"""
