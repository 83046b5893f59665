"""What the reports share: numbers in words, SVG, charts, pictures and sound as data, and one HTML page of all of it."""
