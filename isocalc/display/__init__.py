"""Tables, files and pictures: the only writer. It knows no network and is handed names and numbers.

One shape for results (`table`), one for pictures (`figure`), a small writer for each format: `writer` CSV
and JSON, `terminal` tables and Markdown, `characters` pictures for terminals, `image_files` for files. Their
sizes and colours are those of `layout`.
"""
