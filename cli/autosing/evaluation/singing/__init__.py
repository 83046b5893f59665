"""Sung songs: whether their lyrics are heard, how steady they are, whom they sound like, and a page to hear it."""
