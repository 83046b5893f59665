"""The parts of singing.

| file      | what it is                                                             |
|-----------|------------------------------------------------------------------------|
| lyrics    | plain text, LRC and JSON become lines                                  |
| places    | how long the song is, and when its words are sung                      |
| plan      | the windows that a song is sung in                                     |
| engine    | windows are sung, one after the other, or some of them again           |
| takes     | which lines are heard in a take, and what is beside them               |
| retries   | windows that lack a line, or have one too many, are sung again         |
"""
