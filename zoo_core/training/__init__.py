"""One plain training loop over players: step, EMA, checkpoint, resume, recipes."""
