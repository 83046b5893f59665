"""Pure functions on arrays: the leaf that pipeline, trainers and synthesis share, so that they cannot differ."""
