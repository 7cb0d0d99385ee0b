"""What an assessment is: the protocol, its profile, findings, claims and outcome, and the list of those installed."""
