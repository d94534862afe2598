"""Corpora: reading and writing annotated files, the embedded corpus, and the batches that models read."""
