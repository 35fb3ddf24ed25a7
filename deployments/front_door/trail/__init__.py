"""What happened to each request: a record of it, the recent ones, and both in words."""
