"""Templates of the files that `zoo plugins new` writes."""
