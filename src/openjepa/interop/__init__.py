"""Official weights to our modules, one file per source."""
