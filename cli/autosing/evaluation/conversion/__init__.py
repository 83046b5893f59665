"""Conversion models on a data set's songs: who they sound like, what stays of the pitch, and a page to hear it."""
