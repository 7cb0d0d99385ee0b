"""What people see of a certificate: label, badge, report and charts, all drawn from one tree of claims."""
