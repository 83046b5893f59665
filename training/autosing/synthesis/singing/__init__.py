"""The parts of singing.

| file      | what it is                                                             |
|-----------|------------------------------------------------------------------------|
| lyrics    | plain text, LRC and JSON become lines                                  |
| places    | how long the song is, and when its words are sung                      |
| plan      | the windows that a song is sung in                                     |
"""
