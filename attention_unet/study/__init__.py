"""Studies: trainings of several arms with several seeds and folds, and what they say about hypotheses."""
