"""From original files to arrays: downloads, archives, tables, sound files, records, the cache."""
