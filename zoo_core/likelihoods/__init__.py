"""The generic likelihoods of the built-in plugin, a file each."""
