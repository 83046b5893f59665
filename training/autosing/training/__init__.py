"""Training: from shards to model directories. A set's tars and its manifest are the whole interface to the pipeline."""
