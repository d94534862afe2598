"""What trained models do and why: tests of significance, kinds of errors."""
