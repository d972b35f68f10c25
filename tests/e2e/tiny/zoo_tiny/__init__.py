"""A plugin for the tests of the command: tiny models whose numbers are known in closed form."""
