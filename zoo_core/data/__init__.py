"""Events and conditions, data sets with named splits, readers and writers."""
