"""Using a model: words or raw text in, tags or entities with offsets out."""
