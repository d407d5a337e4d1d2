"""What a check found, in the forms that people and programs read.

Each module makes one form from a CheckReport and nothing else: no disk, no terminal. It does not
know how anything was found.
"""
