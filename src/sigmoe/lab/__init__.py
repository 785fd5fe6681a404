"""Studies: declared in a file, run in parallel, stored task by task, judged and reported."""
