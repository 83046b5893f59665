"""The project's own lyrics aligner: what a net hears, what is known of a song's lines, and the best path through both.

It stands between the models and what uses them: the stage `align` and its fit, the trainer `aligner`, and whatever
listens whether lyrics were sung.
"""
