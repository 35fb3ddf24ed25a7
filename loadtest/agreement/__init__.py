"""Our load client held against others: the same work, the same server, in turns.

    python -m loadtest agree --aiperf VENV/bin --servebench VENV/bin

A client has a module that builds its command, and one function that reads what it wrote into `Figures`.
"""
