"""The service over HTTP: who may ask what, how it is asked, and how answers are written.

Owns the app, not the process that runs it (`cli.serve` starts that). An answer is
`answering.Answerer`'s; nothing here knows how one comes about.
"""
