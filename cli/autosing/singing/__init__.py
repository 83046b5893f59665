"""Lyrics to sung songs: `autosing sing`.

| file      | what it is                                                          |
|-----------|---------------------------------------------------------------------|
| lyrics    | what `--lyrics` means: text, or a file of text, LRC or JSON         |
| models    | the models that sing, loaded, and whom they know                    |
| reference | what a song is sung to: its voice and its backing                   |
| job       | a song is sung, mixed and written                                   |
| text      | the lines on standard output and standard error                     |
"""
