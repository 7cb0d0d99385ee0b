"""Building blocks of an assessment: protocol, profile, findings, claims and outcome, and the installed assessments."""
