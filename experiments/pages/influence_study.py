def summarize(f, rows): return 1
def sections(s): return []
