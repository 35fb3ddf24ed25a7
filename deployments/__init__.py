"""Ray Serve, HTTP, configuration and the command line."""

import time

IMPORTED_S = time.time()
"""When this process began with our code: what came before was Python, Ray and Serve."""
