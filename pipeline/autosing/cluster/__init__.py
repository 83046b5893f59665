"""How work reaches a Ray cluster: a session there, jobs that go on alone, and this package's code on its nodes."""
