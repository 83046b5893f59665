"""Models: `nn.Module`s only. No data, no loops, no paths but those of a model directory.

The shape legend of the whole package, used as a suffix (`mel_BFM`):
    B batch · T audio samples · C channels · F frames · M mel bins · D width · K codebooks · V vocabulary ·
    L text tokens · H heads · N points (unit frames) ·
    R rows of a pattern
"""
