"""How a step is run: cache key, retries, time-out, progress, artifacts. The step itself is the library's."""
