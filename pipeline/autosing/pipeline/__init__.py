"""From songs to columns to shards: data sets, stages, plans and runs."""
