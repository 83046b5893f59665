"""Sound files to what a model says of them: a data set's stages, without a data set."""
