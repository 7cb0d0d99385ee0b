"""Presentation of certificates: label, badge, report and charts, all drawn from one tree of claims."""
