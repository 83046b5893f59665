"""Sound files of commands that make sounds.

| file    | what it is                                                            |
|---------|-----------------------------------------------------------------------|
| reading | a file becomes a recording                                            |
| outputs | sound files that are there whole or not at all, and what lies beside  |
| mixes   | a mix is taken apart, and put together again with another voice       |
"""
