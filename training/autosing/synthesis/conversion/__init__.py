"""The parts of a conversion.

| file      | what it is                                                    |
|-----------|---------------------------------------------------------------|
| wanted    | how a recording is converted, as people say it                |
| singers   | who sings: a name, several with weights, one after the other  |
| voices    | columns of recordings, and the voices that references are of  |
| sources   | what is known of a recording before it is converted           |
| keys      | how far a song is moved so that it lies where the singer does |
| windows   | what the model is given, a window of a long recording a time  |
| sounding  | mels to sound                                                 |
| levels    | how loud it is                                                |
| clock     | how long each part takes                                      |
"""
