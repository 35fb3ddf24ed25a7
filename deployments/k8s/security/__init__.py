"""What every pod has to do without: rights, the node's own things, secrets in plain text."""
