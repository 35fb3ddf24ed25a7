"""`stageline bench`: speed, as ratios measured in one run. Each contender lives in a process of its own."""
