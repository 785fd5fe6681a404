"""How many experts: information criteria over a range, and merging atoms."""
