"""Who may use the front door, and how much of it: API keys, what they are for, and their limits. No HTTP in here."""
