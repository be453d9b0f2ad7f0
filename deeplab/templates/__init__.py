"""Files that `deeplab new` writes with a name of the user's: an experiment of each kind, its test, its notebook.

They are modules like any other, so that they are linted, type-checked and run by the tests as they are.
"""
