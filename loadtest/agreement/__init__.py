"""Our load client held against others: the same work, the same server, in turns, and a wire before it that sees all.

    python -m loadtest agree --aiperf VENV/bin --servebench VENV/bin

A client has a module that builds its command, and one function that reads what it wrote into `Figures`. What the wire
saw becomes `Figures`, too (`witness.py`); each client's are compared with those of its own run.
"""
