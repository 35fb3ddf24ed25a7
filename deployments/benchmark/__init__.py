"""The article's table with this machine's figures: a plain baseline and Stageline, asked the same over HTTP in turn."""
