"""Tokenizers compared by what one light decoder makes of their tokens: `autosing compare tokens`."""
