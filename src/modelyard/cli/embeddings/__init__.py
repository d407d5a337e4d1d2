"""`models embeddings ...`: one file for each command."""
