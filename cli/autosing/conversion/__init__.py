"""Recordings to converted recordings: `autosing convert`.

| file    | what it is                                                            |
|---------|-----------------------------------------------------------------------|
| inputs  | files, folders and manifests become a list of recordings              |
| outputs | names that stay inside the folder, sound files, and what lies beside  |
| mixes   | a mix is taken apart, and put together again with another voice       |
| job     | one recording after the other, and what became of each                |
| text    | the lines on standard output                                          |
"""
