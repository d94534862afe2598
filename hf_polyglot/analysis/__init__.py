"""What trained models do and why: tests of significance."""
