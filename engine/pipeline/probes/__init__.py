"""The parts of each kind of model, loaded one of each, ready to be run and timed."""
