"""Tables, files and pictures: the only writer. It knows no network and is handed names and numbers.

One shape for results (`table`), one for pictures (`figure`); a small writer for each format.
"""
