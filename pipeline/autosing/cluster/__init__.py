"""How work reaches a Ray cluster: a session there, and this package's code on its nodes."""
