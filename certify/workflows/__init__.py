"""One module per task that needs several floors: measure and sign, score, award, renew, audit by groups.

The floors below stay independent: ``measure`` knows nothing of signatures, ``attest`` nothing of clocks. Only workflows
join them; ``api.py`` and ``cli/`` call workflows and add input and output.
"""
