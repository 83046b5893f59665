"""The page of an evaluation: means, curves, songs from the worst on, and pictures of the worst."""
