"""One runnable experiment per file."""
