"""Whether quantized variants still answer as the reference does: live answers, compared in the background."""
