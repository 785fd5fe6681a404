"""Many least squares fits at once: a leading batch dimension over replications and starts."""
