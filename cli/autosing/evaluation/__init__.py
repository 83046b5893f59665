"""How near computed columns are to reference columns, song by song: `autosing eval`.

| file       | what it is                                                                |
|------------|---------------------------------------------------------------------------|
| comparison | what every evaluation comes to: measures by song and instance, means      |
| songs      | reads truth and estimates side by side, and says why one of them is missing |
| matching   | which estimated words are which true ones                                 |
| words      | how far a song's words, lines and phones are off                          |
| align, f0, notes, activity | one evaluation each                                       |
| tasks      | the evaluations by name                                                   |
| text       | the table on standard output, and JSON                                    |
| report     | the page with the pictures                                                |
"""
