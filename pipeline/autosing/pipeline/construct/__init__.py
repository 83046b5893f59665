"""From column files to tars of samples: which cuts, in which split, in which order."""
