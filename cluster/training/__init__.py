"""Training on Ray Train with DistributedDataParallel: classifiers, translators, generators; distillation.

The result does not depend on the number of workers: see `batches.py` and `loop.py`.
"""
