"""Recordings to converted recordings: `autosing convert`.

| file    | what it is                                                            |
|---------|-----------------------------------------------------------------------|
| inputs  | files, folders and manifests become a list of recordings              |
| job     | one recording after the other, and what became of each                |
| text    | the lines on standard output                                          |
"""
